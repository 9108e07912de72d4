# Copyright (c) mmfft authors. All rights reserved.
from mmpretrain.models.heads import ClsHead
from torch import Tensor, nn

from ..errors import ConfigError
from ..mixers import SquaredReLU
from ..registry import MODELS


@MODELS.register_module()
class MlpHead(ClsHead):
    """The classifier of the MetaFormer family.

    From `MetaFormer Baselines for Vision
    <https://arxiv.org/abs/2210.13452>`_: LayerNorm of the pooled features,
    then linear, squared ReLU, LayerNorm, dropout, linear. The first norm is
    the backbone's final one in the published code; it stands after pooling
    and so belongs here. Use it with ``neck=dict(type='GlobalAveragePooling')``
    and a backbone with ``out_norm=False``.

    Args:
        num_classes (int): Number of classes.
        in_channels (int): Channels of the pooled features.
        mlp_ratio (float): Hidden width over ``in_channels``. Defaults to 4.
        dropout (float): Dropout before the last layer. Defaults to 0.
        init_cfg (dict, optional): Initialization. Defaults to a truncated
            normal of deviation 0.02.
        **kwargs: Arguments of ``mmpretrain.models.ClsHead``: ``loss``,
            ``topk``, ``cal_acc``.

    Raises:
        ConfigError: If ``num_classes`` is not positive.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        mlp_ratio: float = 4,
        dropout: float = 0.0,
        init_cfg: dict | None = dict(
            type='TruncNormal', layer='Linear', std=0.02, bias=0.0
        ),
        **kwargs,
    ):
        super().__init__(init_cfg=init_cfg, **kwargs)
        if num_classes < 1:
            raise ConfigError(
                f'num_classes must be positive, got {num_classes}'
            )
        hidden = int(mlp_ratio * in_channels)
        self.pre_norm = nn.LayerNorm(in_channels, eps=1e-6)
        self.fc1 = nn.Linear(in_channels, hidden)
        self.act = SquaredReLU()
        self.norm = nn.LayerNorm(hidden)
        self.dropout = nn.Dropout(dropout)
        self.fc2 = nn.Linear(hidden, num_classes)

    def pre_logits(self, feats: tuple[Tensor, ...]) -> Tensor:
        """Features before the last layer.

        Args:
            feats (tuple[Tensor]): Pooled features, the last of shape
                ``(B, in_channels)``.

        Returns:
            Tensor: Shape ``(B, hidden)``.
        """
        return self.norm(self.act(self.fc1(self.pre_norm(feats[-1]))))

    def forward(self, feats: tuple[Tensor, ...]) -> Tensor:
        """Logits ``(B, num_classes)`` of pooled features."""
        return self.fc2(self.dropout(self.pre_logits(feats)))
