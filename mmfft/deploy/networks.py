# Copyright (c) mmfft authors. All rights reserved.
"""What of a toolbox's model is deployed: image tensor in, named tensors out.

The image is the one that the model's data preprocessor would have made:
normalized, in its order of channels, padded. What comes after the outputs, as
boxes out of deltas and their suppression, is left to the application.
"""

import json
from collections.abc import Callable

import torch
import torch.nn.functional as F
from mmengine.config import Config
from torch import Tensor, nn

from ..engine import build_model
from ..errors import ConfigError
from ..openmmlab.scopes import choose_by_scope
from ..ops.spectrum import whole_numbers


class Network(nn.Module):
    """A model of a toolbox as a plain function of tensors.

    Args:
        model (nn.Module): The model; evaluation mode is set.
        metadata (dict[str, str]): What a user of the exported file must know,
            above all how to normalize an image.
    """

    def __init__(self, model: nn.Module, metadata: dict[str, str] = {}):
        super().__init__()
        self.model = model
        self.metadata = dict(metadata)
        self.eval()

    @property
    def img_size(self) -> tuple[int, int]:
        """Image size ``(H, W)`` that the backbone stores its filters for.

        Raises:
            ConfigError: If it is a backbone that does not tell.
        """
        backbone = self.model.backbone
        if not hasattr(backbone, 'img_size'):
            raise ConfigError(
                f'{type(backbone).__name__} does not tell an image size: '
                'choose one by --shape'
            )
        return backbone.img_size

    def named_outputs(self, image: Tensor) -> dict[str, Tensor]:
        """The outputs with their names, in their order."""
        raise NotImplementedError

    def replace_unexportable(self) -> None:
        """Write modules that exporters cannot take as ones that they can."""

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """The outputs, float32 whatever the weights are.

        Args:
            image (Tensor): Normalized images, float32 ``(B, C, H, W)``.

        Returns:
            tuple[Tensor]: As of :meth:`named_outputs`.
        """
        dtype = next(self.parameters()).dtype
        outputs = self.named_outputs(image.to(dtype))
        return tuple(out.float() for out in outputs.values())


class Classifier(Network):
    """Logits ``(B, num_classes)`` of a classifier of mmpretrain."""

    def named_outputs(self, image: Tensor) -> dict[str, Tensor]:
        return dict(logits=self.model(image))


class Segmentor(Network):
    """Logits ``(B, num_classes, H, W)`` of a segmentor of mmseg."""

    def named_outputs(self, image: Tensor) -> dict[str, Tensor]:
        logits = F.interpolate(
            self.model(image),
            size=image.shape[2:],
            mode='bilinear',
            align_corners=self.model.align_corners,
        )
        return dict(logits=logits)

    def replace_unexportable(self) -> None:
        from mmseg.models.utils import Upsample

        _replace(
            self,
            {
                nn.AdaptiveAvgPool2d: lambda module: AdaptiveAvgPool2d(
                    module.output_size
                ),
                # Takes the integer part of a size in Python.
                Upsample: lambda module: nn.Upsample(
                    module.size,
                    module.scale_factor,
                    module.mode,
                    module.align_corners,
                    recompute_scale_factor=module.size is None or None,
                ),
            },
        )


class Detector(Network):
    """Backbone and neck of a detector of mmdet; a RetinaNet with its head.

    Outputs are ``feature_0``, ... for each level of the neck, or for a
    RetinaNet ``cls_score_0``, ..., ``bbox_pred_0``, ...: logits
    ``(B, anchors * classes, h, w)`` and deltas ``(B, anchors * 4, h, w)``.
    """

    def __init__(self, model: nn.Module, metadata: dict[str, str] = {}):
        super().__init__(model, metadata)
        from mmdet.models import RetinaHead

        head = getattr(model, 'bbox_head', None)
        self.has_retina_head = isinstance(head, RetinaHead)

    def named_outputs(self, image: Tensor) -> dict[str, Tensor]:
        features = self.model.extract_feat(image)
        kinds = dict(feature=features)
        if self.has_retina_head:
            scores, deltas = self.model.bbox_head(features)
            kinds = dict(cls_score=scores, bbox_pred=deltas)
        return {
            f'{kind}_{level}': out
            for kind, levels in kinds.items()
            for level, out in enumerate(levels)
        }


NETWORKS = dict(mmpretrain=Classifier, mmseg=Segmentor, mmdet=Detector)


def load_network(cfg: Config, checkpoint: str) -> Network:
    """Build the model of a config with the weights of a checkpoint.

    Args:
        cfg (Config): Of mmpretrain, mmseg or mmdet, as its
            ``default_scope`` tells.
        checkpoint (str): A file, an address or ``mmfft://``.

    Returns:
        Network: On the CPU. Its metadata tell the config's normalization.

    Raises:
        ConfigError: If the config is of another toolbox, the checkpoint
            cannot be read or it lacks weights of the model.
    """
    network = choose_by_scope(cfg, NETWORKS)
    return network(build_model(cfg, checkpoint), _normalization(cfg))


def _normalization(cfg: Config) -> dict[str, str]:
    """What the data preprocessor does to an image, for who must do it."""
    data_preprocessor = cfg.model.get('data_preprocessor') or cfg.get(
        'data_preprocessor', {}
    )
    # OpenCV reads BGR, and the toolboxes' pipelines with it.
    to_rgb = any(data_preprocessor.get(k) for k in ('to_rgb', 'bgr_to_rgb'))
    values = dict(
        mean=data_preprocessor.get('mean'),
        std=data_preprocessor.get('std'),
        channel_order='RGB' if to_rgb else 'BGR',
        pad_size_divisor=data_preprocessor.get('pad_size_divisor'),
    )
    return {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in values.items()
        if value is not None
    }


def _replace(
    root: nn.Module,
    replacements: dict[type, Callable[[nn.Module], nn.Module]],
) -> None:
    for parent in list(root.modules()):
        for name, child in parent.named_children():
            if type(child) in replacements:
                setattr(parent, name, replacements[type(child)](child))


class AdaptiveAvgPool2d(nn.Module):
    """``nn.AdaptiveAvgPool2d`` as a product with a matrix a side.

    ONNX has no such pooling, and exporters do without where the output size
    does not divide the input size or the latter is not known.
    """

    def __init__(self, output_size: int | tuple[int, int]):
        super().__init__()
        self.size = nn.modules.utils._pair(output_size)

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = (
            self.means(n, size, x) for n, size in zip(x.shape[2:], self.size)
        )
        return rows @ x @ columns.T

    @staticmethod
    def means(n: int, size: int, like: Tensor) -> Tensor:
        """Matrix ``(size, n)``; window i of n is [i n / s, (i+1) n / s[."""
        like32 = like.new_empty(0, dtype=torch.float32)
        index = whole_numbers(n, like32)
        window = whole_numbers(size, like32)[:, None]
        # In whole numbers, so that nothing is rounded.
        inside = (index + 1) * size > window * n
        inside = (inside & (index * size < (window + 1) * n)).float()
        return (inside / inside.sum(1, keepdim=True)).to(like.dtype)
