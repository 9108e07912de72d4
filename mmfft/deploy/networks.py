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
from torch import Tensor, nn

from ..engine import image_channels
from ..errors import ConfigError
from ..ops.spectrum import whole_numbers

Shape = tuple[int, int, int]  # batch, height, width


class Network(nn.Module):
    """A model of a toolbox as a plain function of tensors.

    Args:
        model (nn.Module): Model of a toolbox; it is set to evaluation mode.
        metadata (dict): What a user of the exported file must know, above all
            how to prepare an image; docs/how_to/deployment.md lists the keys.
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

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights."""
        return next(self.parameters()).dtype

    def is_final(self, name: str) -> bool:
        """Whether an output is one of the file's, or an inner tensor.

        Args:
            name (str): Name of the output.
        """
        return self.final_outputs is None or name in self.final_outputs

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
        """Compute the outputs, no final one in float16.

        Args:
            image (Tensor): Normalized images, float32 ``(B, C, H, W)``.
            *others (Tensor): Further inputs, as :meth:`inputs` has them.

        Returns:
            tuple[Tensor]: Outputs in the order of :meth:`named_outputs`.
        """
        outputs = self.named_outputs(cast(image, self.dtype), *others)
        return tuple(
            out.float()
            if self.is_final(name) and out.dtype == torch.half
            else out
            for name, out in outputs.items()
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

        replace_modules(
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


def cast(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Convert a tensor, but write nothing into a graph if it has the type."""
    return x if x.dtype == dtype else x.to(dtype)


def replace_modules(
    root: nn.Module,
    replacements: dict[type, Callable[[nn.Module], nn.Module]],
) -> None:
    """Replace modules inside a network.

    Args:
        root (nn.Module): Network, changed in place.
        replacements (dict): For each class of modules that are replaced, a
            function from a module to what takes its place.
    """
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
