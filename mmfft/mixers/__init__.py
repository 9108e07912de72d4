# Copyright (c) mmfft authors. All rights reserved.
"""Token mixers, ``(B, H, W, C) -> (B, H, W, C)``, one a file."""

from .activations import SquaredReLU, StarReLU
from .afno import AFNO2D
from .convolution import convolve
from .dynamic_filter import DynamicFilter
from .global_filter import ExpandedGlobalFilter, GlobalFilter
from .grid_parameter import GridParameter
from .half_spectrum import HalfSpectrum
from .linear import Linear, mlp
from .sep_conv import SepConv

__all__ = [
    'AFNO2D',
    'DynamicFilter',
    'ExpandedGlobalFilter',
    'GlobalFilter',
    'GridParameter',
    'HalfSpectrum',
    'Linear',
    'SepConv',
    'SquaredReLU',
    'StarReLU',
    'convolve',
    'mlp',
]
