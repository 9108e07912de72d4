# Copyright (c) mmfft authors. All rights reserved.
from torch import Tensor, nn

from ..layers import SquaredReLU


class MlpClassifier(nn.Module):
    """The layers of the MetaFormer family's classifier.

    From `MetaFormer Baselines for Vision
    <https://arxiv.org/abs/2210.13452>`_: LayerNorm of the pooled features,
    then linear, squared ReLU, LayerNorm, dropout, linear. The first norm is
    the backbone's final one in the published code; it stands after pooling
    and so belongs here.

    Args:
        num_classes (int): Number of classes; 0 for no last layer.
        in_channels (int): Channels of the pooled features.
        mlp_ratio (float): Hidden width over ``in_channels``. Defaults to 4.
        dropout (float): Dropout before the last layer. Defaults to 0.
        **kwargs: Arguments of the next base class, where a subclass has two.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        mlp_ratio: float = 4,
        dropout: float = 0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        hidden = int(mlp_ratio * in_channels)
        self.pre_norm = nn.LayerNorm(in_channels, eps=1e-6)
        self.fc1 = nn.Linear(in_channels, hidden)
        self.act = SquaredReLU()
        self.norm = nn.LayerNorm(hidden)
        self.dropout = nn.Dropout(dropout)
        self.fc2 = (
            nn.Linear(hidden, num_classes) if num_classes else nn.Identity()
        )

    def pre_logits(self, x: Tensor) -> Tensor:
        """Features before the last layer, ``(..., C) -> (..., hidden)``."""
        return self.norm(self.act(self.fc1(self.pre_norm(x))))

    def forward(self, x: Tensor) -> Tensor:
        """Logits, ``(..., C) -> (..., num_classes)``."""
        return self.fc2(self.dropout(self.pre_logits(x)))
