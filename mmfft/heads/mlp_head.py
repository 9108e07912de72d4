# Copyright (c) mmfft authors. All rights reserved.
from mmpretrain.models.heads import ClsHead
from torch import Tensor

from ..errors import require_whole_number
from ..models import MlpClassifier
from ..registry import MODELS


@MODELS.register_module()
class MlpHead(MlpClassifier, ClsHead):
    """The classifier of the MetaFormer family, as a head of mmpretrain.

    See :class:`.MlpClassifier` for its layers. Use it with
    ``neck=dict(type='GlobalAveragePooling')`` and a backbone with
    ``out_norm=False``.

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
        require_whole_number('num_classes', num_classes, 1)
        super().__init__(
            num_classes,
            in_channels,
            mlp_ratio,
            dropout,
            init_cfg=init_cfg,
            **kwargs,
        )
        self.num_classes = num_classes

    def pre_logits(self, feats: tuple[Tensor, ...]) -> Tensor:
        """Compute the features before the last layer.

        Args:
            feats (tuple[Tensor]): Pooled features, the last of shape
                ``(B, in_channels)``.

        Returns:
            Tensor: Features of shape ``(B, hidden)``.
        """
        return super().pre_logits(feats[-1])
