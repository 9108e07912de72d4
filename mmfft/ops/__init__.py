# Copyright (c) mmfft authors. All rights reserved.
"""Pure functions on tensors: the spectral filter and its resizing."""

from . import flops
from .boundary import BOUNDARIES, extend, extended_grid
from .convolution import conv2d_to_channels_last
from .dispatch import (
    KERNEL_PATHS,
    PATHS,
    chosen_path,
    is_linear_convolved,
    use_path,
)
from .resize import FILTER_RESIZE_MODES, resize_filter
from .spectral import (
    dynamic_spectral_filter,
    irfft2,
    rfft2,
    spectral_filter,
)
from .spectrum import half_spectrum_shape, project_hermitian

__all__ = [
    'BOUNDARIES',
    'FILTER_RESIZE_MODES',
    'KERNEL_PATHS',
    'PATHS',
    'chosen_path',
    'conv2d_to_channels_last',
    'dynamic_spectral_filter',
    'extend',
    'extended_grid',
    'half_spectrum_shape',
    'irfft2',
    'is_linear_convolved',
    'project_hermitian',
    'resize_filter',
    'rfft2',
    'spectral_filter',
    'use_path',
]
