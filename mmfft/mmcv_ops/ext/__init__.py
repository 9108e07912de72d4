# Copyright (c) mmfft authors. All rights reserved.
"""The light ops: a module that stands in for ``mmcv._ext``.

mmcv's operators are C++ that has to be compiled for the installed PyTorch.
torchvision's wheels hold the ones that detectors and segmentors call: NMS,
RoIAlign and deformable convolution, for the CPU and for CUDA. The functions
here have the names and arguments of mmcv's ``pybind.cpp`` and call those, or
implement the operator in PyTorch.

Python imports this package under the name ``mmcv._ext``, without
``mmfft/__init__.py``: see :mod:`mmfft.mmcv_ops`. It therefore imports only
PyTorch, torchvision and NumPy.

An op that is missing here raises an error when it is called, not when it is
imported, since ``mmcv.ops`` looks up all of its ops at once.
"""

from collections.abc import Callable
from typing import NoReturn

import torchvision

from .boxes import bbox_overlaps, nms, nms_match, softnms
from .deformable import (
    deform_conv_backward_input,
    deform_conv_backward_parameters,
    deform_conv_forward,
    modulated_deform_conv_backward,
    modulated_deform_conv_forward,
    ms_deform_attn_backward,
    ms_deform_attn_forward,
)
from .focal_loss import (
    sigmoid_focal_loss_backward,
    sigmoid_focal_loss_forward,
    softmax_focal_loss_backward,
    softmax_focal_loss_forward,
)
from .rois import roi_align_backward, roi_align_forward

__all__ = [
    'bbox_overlaps',
    'deform_conv_backward_input',
    'deform_conv_backward_parameters',
    'deform_conv_forward',
    'get_compiler_version',
    'get_compiling_cuda_version',
    'modulated_deform_conv_backward',
    'modulated_deform_conv_forward',
    'ms_deform_attn_backward',
    'ms_deform_attn_forward',
    'nms',
    'nms_match',
    'roi_align_backward',
    'roi_align_forward',
    'sigmoid_focal_loss_backward',
    'sigmoid_focal_loss_forward',
    'softmax_focal_loss_backward',
    'softmax_focal_loss_forward',
    'softnms',
]

TORCHVISION = torchvision.__version__


def get_compiler_version() -> str:
    """What mmcv's environment report prints as its compiler."""
    return f'none (light ops of torchvision {TORCHVISION})'


def get_compiling_cuda_version() -> str:
    """What mmcv's environment report prints as its CUDA compiler."""
    return 'not available'


def __getattr__(name: str) -> Callable[..., NoReturn]:
    if name.startswith('__'):
        raise AttributeError(name)

    def missing(*args, **kwargs) -> NoReturn:
        raise NotImplementedError(
            f'the op {name} of mmcv is not among the light ops, which need '
            "no compiler; compile mmcv's own with `make install OPS=compiled` "
            'or `python -m mmfft.mmcv_ops compile`'
        )

    missing.__name__ = missing.__qualname__ = name
    return missing
