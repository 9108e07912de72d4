# Copyright (c) mmfft authors. All rights reserved.
"""The part of a toolbox's model that is exported: image in, named tensors out.

The image must be as the model's data preprocessor would return it: normalized,
in its order of channels, padded. The metadata tell how.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config
from torch import Tensor, nn

from ..engine import build_model, image_channels, load_weights
from ..engine.class_names import class_names
from ..errors import ConfigError
from ..openmmlab.scopes import choose_by_scope
from ..ops.spectrum import whole_numbers
from .preparation import normalization, padding, resizing

Shape = tuple[int, int, int]  # batch, height, width


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
    # Inputs that a user of the file may leave out, with their defaults.
    optional_inputs: dict[str, np.ndarray] = {}
    # Outputs that the file has, if not all.
    final_outputs: tuple[str, ...] | None = None

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

    def parts(self) -> list['Network']:
        """Parts of the network that are compared with PyTorch each."""
        return [self]

    def inputs(self, shape: Shape) -> dict[str, Tensor]:
        """Make inputs by name, the same in every call.

        Args:
            shape (tuple[int, int, int]): Number of images, height and width.

        Returns:
            dict[str, Tensor]: Noise in the place of normalized images, and
            what else the network takes.
        """
        batch, *size = shape
        channels = image_channels(self.model)
        generator = torch.Generator().manual_seed(0)
        return dict(
            input=torch.randn(batch, channels, *size, generator=generator)
        )

    def named_outputs(self, image: Tensor) -> dict[str, Tensor]:
        """Compute the outputs, by name and in order."""
        raise NotImplementedError

    def difference(
        self, outputs: Sequence[np.ndarray], expected: Sequence[np.ndarray]
    ) -> float:
        """Largest difference of outputs relative to the largest value.

        Args:
            outputs (Sequence[np.ndarray]): Outputs of a runtime.
            expected (Sequence[np.ndarray]): Outputs of PyTorch.

        Returns:
            float: Largest absolute difference in an output, relative to the
            largest absolute value of that output in PyTorch; infinite if
            shapes differ, NaN if either side contains NaN.
        """
        if [out.shape for out in outputs] != [out.shape for out in expected]:
            return math.inf
        differences = [
            np.abs(out - other).max() / np.abs(other).max()
            for out, other in zip(outputs, expected)
        ]
        # NumPy's maximum propagates NaN, Python's may not.
        return float(np.max(differences))

    def replace_unexportable(self) -> None:
        """Replace modules that exporters do not support with equivalents."""

    def forward(self, image: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        """Compute the outputs, none of them in float16.

        Args:
            image (Tensor): Normalized images, float32 ``(B, C, H, W)``.
            *others (Tensor): Further inputs, as :meth:`inputs` has them.

        Returns:
            tuple[Tensor]: Outputs in the order of :meth:`named_outputs`.
        """
        dtype = next(self.parameters()).dtype
        outputs = self.named_outputs(image.to(dtype), *others)
        return tuple(
            out.float() if out.dtype == torch.float16 else out
            for out in outputs.values()
        )


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


class Features(Network):
    """Backbone and neck of a detector of mmdet.

    Outputs are ``feature_0``, ... ``(B, C, h, w)`` for each level.
    """

    def named_outputs(self, image: Tensor) -> dict[str, Tensor]:
        features = self.model.extract_feat(image)
        return {f'feature_{i}': level for i, level in enumerate(features)}


class Levels(Network):
    """What the head of a RetinaNet of mmdet computes from an image.

    Outputs are ``cls_score_0``, ... and then ``bbox_pred_0``, ... for each
    level: logits ``(B, anchors * classes, h, w)`` and deltas
    ``(B, anchors * 4, h, w)``.
    """

    def named_outputs(self, image: Tensor) -> dict[str, Tensor]:
        features = self.model.extract_feat(image)
        scores, deltas = self.model.bbox_head(features)
        return {
            f'{kind}_{i}': level.float()
            for kind, levels in [('cls_score', scores), ('bbox_pred', deltas)]
            for i, level in enumerate(levels)
        }


class Objects(Network):
    """Objects from the outputs of :class:`Levels`.

    They are ``dets`` and ``labels``, described at
    :func:`mmfft.deploy.detections.detect`. Of the image, only the size counts.
    """

    def inputs(self, shape: Shape) -> dict[str, Tensor]:
        """Make outputs of a head that has found many objects.

        A trained head finds none in noise, and with random weights all
        scores are alike.
        """
        levels = Levels(self.model)
        made = levels.inputs(shape)
        with torch.no_grad():
            outputs = levels.named_outputs(*made.values())
        generator = torch.Generator().manual_seed(0)
        for name, out in outputs.items():
            noise = torch.randn(out.shape, generator=generator)
            made[name] = (
                2 * noise - 4 if name.startswith('cls_score') else noise / 4
            )
        height, width = shape[1:]
        inner = [height - height // 8, width - width // 8]
        return dict(made, image_size=torch.tensor(inner))

    def named_outputs(
        self, image: Tensor, *others: Tensor
    ) -> dict[str, Tensor]:
        from .detections import detect

        *levels, image_size = others
        # Whatever the user says, no image is larger than its tensor.
        sides = [torch.as_tensor(side) for side in image.shape[2:]]
        image_size = torch.minimum(image_size, torch.stack(sides))
        half = len(levels) // 2
        dets, labels = detect(
            self.model.bbox_head, levels[:half], levels[half:], image_size
        )
        return dict(dets=dets, labels=labels)

    def difference(
        self, outputs: Sequence[np.ndarray], expected: Sequence[np.ndarray]
    ) -> float:
        """Largest difference between an object and the one most like it.

        Two objects whose scores differ by a rounding error may change places.
        """
        from .detections import largest_difference

        return largest_difference(outputs, expected)


class RetinaNet(Levels):
    """A RetinaNet of mmdet, whole: image in, objects out.

    Its second input, ``image_size``, is the height and width of the image
    inside the padded tensor: the toolbox clips boxes to it before it
    suppresses any. The outputs of :class:`Levels` follow those of
    :class:`Objects`, and become inner tensors of the exported file.
    """

    task = 'detection'
    optional_inputs = dict(image_size=np.full(2, np.iinfo(np.int32).max))
    final_outputs = ('dets', 'labels')

    def __init__(self, model: nn.Module, metadata: dict = {}):
        super().__init__(model, metadata)
        cfg = model.bbox_head.test_cfg
        self.metadata.update(
            score_thr=cfg.score_thr,
            nms_pre=cfg.nms_pre,
            iou_threshold=cfg.nms.iou_threshold,
            max_per_img=cfg.max_per_img,
        )

    def parts(self) -> list[Network]:
        return [Levels(self.model), Objects(self.model)]

    def inputs(self, shape: Shape) -> dict[str, Tensor]:
        return dict(super().inputs(shape), image_size=torch.tensor(shape[1:]))

    def named_outputs(
        self, image: Tensor, image_size: Tensor
    ) -> dict[str, Tensor]:
        levels = super().named_outputs(image)
        objects = Objects(self.model).named_outputs(
            image, *levels.values(), image_size
        )
        return {**objects, **levels}


def detector(model: nn.Module, metadata: dict = {}) -> Network:
    """Wrap a detector of mmdet: whole if its head is known, or its features.

    Args:
        model (nn.Module): Detector of mmdet.
        metadata (dict): See :class:`Network`. Defaults to none.

    Returns:
        Network: :class:`RetinaNet` or :class:`Features`, whose metadata say
        under ``features_because`` why they are not more.
    """
    from .detections import require_known_head

    try:
        if not hasattr(model, 'bbox_head'):
            raise ConfigError(
                f'{type(model).__name__} has no bbox_head, and only a '
                'RetinaHead can be exported'
            )
        require_known_head(model.bbox_head)
    except ConfigError as error:
        return Features(model, dict(metadata, features_because=str(error)))
    return RetinaNet(model, metadata)


NETWORKS = dict(mmpretrain=Classifier, mmseg=Segmentor, mmdet=detector)


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
