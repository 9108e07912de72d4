# Copyright (c) mmfft authors. All rights reserved.
"""The part of a toolbox's model that is exported: image in, named tensors out.

The image must be as the model's data preprocessor would return it: normalized,
in its order of channels, padded. What follows the outputs, such as decoding
boxes from deltas and suppressing some, is left to the application.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from mmengine.config import Config
from torch import Tensor, nn

from ..engine import build_model, load_weights
from ..engine.class_names import class_names
from ..errors import ConfigError
from ..openmmlab.scopes import choose_by_scope
from ..ops.spectrum import whole_numbers
from .preparation import normalization, padding, resizing


class Network(nn.Module):
    """A model of a toolbox as a plain function of tensors.

    Args:
        model (nn.Module): Model of a toolbox; it is set to evaluation mode.
        metadata (dict): What a user of the exported file must know, above all
            how to prepare an image; docs/deployment.md lists the keys.
            Defaults to none.
    """

    # What the outputs are, see :class:`mmfft.runtime.prediction.Prediction`;
    # 'features' if they are less than predictions.
    task = 'features'

    def __init__(self, model: nn.Module, metadata: dict = {}):
        super().__init__()
        self.model = model
        self.metadata = dict(task=self.task, **metadata)
        self.eval()

    @property
    def img_size(self) -> tuple[int, int]:
        """Image size ``(H, W)`` for which the backbone stores its filters.

        Raises:
            ConfigError: If the backbone has no ``img_size``.
        """
        backbone = self.model.backbone
        if not hasattr(backbone, 'img_size'):
            raise ConfigError(
                f'{type(backbone).__name__} has no img_size: choose an image '
                'size with --shape'
            )
        return backbone.img_size

    def named_outputs(self, image: Tensor) -> dict[str, Tensor]:
        """Compute the outputs, by name and in order."""
        raise NotImplementedError

    def replace_unexportable(self) -> None:
        """Replace modules that exporters do not support with equivalents."""

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Compute the outputs, in float32 whatever the weights are.

        Args:
            image (Tensor): Normalized images, float32 ``(B, C, H, W)``.

        Returns:
            tuple[Tensor]: Outputs in the order of :meth:`named_outputs`.
        """
        dtype = next(self.parameters()).dtype
        outputs = self.named_outputs(image.to(dtype))
        return tuple(out.float() for out in outputs.values())


class Classifier(Network):
    """Logits ``(B, num_classes)`` of a classifier of mmpretrain."""

    def __init__(self, model: nn.Module, metadata: dict = {}):
        super().__init__(model, metadata)
        from mmpretrain.models import ClsHead

        head = model.head
        # Others do not end with softmax, such as those for several labels.
        if type(head)._get_predictions is ClsHead._get_predictions:
            self.metadata['task'] = 'classification'

    def named_outputs(self, image: Tensor) -> dict[str, Tensor]:
        return dict(logits=self.model(image))


class Segmentor(Network):
    """Logits ``(B, num_classes, H, W)`` of a segmentor of mmseg."""

    task = 'segmentation'

    def __init__(self, model: nn.Module, metadata: dict = {}):
        super().__init__(model, metadata)
        self.metadata['align_corners'] = model.align_corners
        if model.out_channels == 1:
            self.metadata['threshold'] = model.decode_head.threshold
        mode = model.test_cfg.get('mode', 'whole')
        if mode != 'whole':
            self.metadata['unknown_steps'] = (
                f'the test of the model is in mode {mode!r}, and the file is '
                'the network for one window'
            )

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
                # mmseg's takes the integer part of a size in Python.
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

    Outputs are ``feature_0``, ... for each level of the neck or, for a
    RetinaNet, ``cls_score_0``, ..., ``bbox_pred_0``, ...: logits
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
        cfg (Config): Config of mmpretrain, mmseg or mmdet, as named by its
            ``default_scope``.
        checkpoint (str): Path or URL of a file, or ``mmfft://`` and a name.

    Returns:
        Network: Network on the CPU. Its metadata are those of the file that
        :func:`export` writes, but for what only the export decides.

    Raises:
        ConfigError: If the config is for another toolbox, the checkpoint
            cannot be read or it lacks weights of the model.
    """
    network_of = choose_by_scope(cfg, NETWORKS)
    model = build_model(cfg)
    meta = load_weights(model, checkpoint)
    classes, palette = class_names(cfg, meta)
    metadata = dict(classes=classes, **normalization(cfg))
    if palette is not None:
        metadata['palette'] = palette
    try:
        metadata.update(padding(cfg, model), resize=resizing(cfg))
    except ConfigError as error:
        metadata['unknown_steps'] = str(error)
    return network_of(model, metadata)


def _replace(
    root: nn.Module,
    replacements: dict[type, Callable[[nn.Module], nn.Module]],
) -> None:
    for parent in list(root.modules()):
        for name, child in parent.named_children():
            if type(child) in replacements:
                setattr(parent, name, replacements[type(child)](child))


class AdaptiveAvgPool2d(nn.Module):
    """``nn.AdaptiveAvgPool2d`` as products with one matrix per side.

    ONNX has no such pooling, and exporters support it only if the output size
    divides the input size and the input size is known.
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
        """Matrix ``(size, n)``; window i is [i n / size, (i+1) n / size)."""
        like32 = like.new_empty(0, dtype=torch.float32)
        index = whole_numbers(n, like32)
        window = whole_numbers(size, like32)[:, None]
        # Only whole numbers are compared, so that nothing is rounded.
        inside = (index + 1) * size > window * n
        inside = (inside & (index * size < (window + 1) * n)).float()
        return (inside / inside.sum(1, keepdim=True)).to(like.dtype)
