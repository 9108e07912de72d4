# Copyright (c) mmfft authors. All rights reserved.
"""Pure functions on tensors: the spectral filter and its resizing."""

from .resize import FILTER_RESIZE_MODES, resize_filter
from .spectral import (
    dynamic_spectral_filter,
    half_spectrum_shape,
    project_hermitian,
    spectral_filter,
)

__all__ = [
    'FILTER_RESIZE_MODES',
    'dynamic_spectral_filter',
    'half_spectrum_shape',
    'project_hermitian',
    'resize_filter',
    'spectral_filter',
]
