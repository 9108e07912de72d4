# Copyright (c) mmfft authors. All rights reserved.
"""Layers on channels-last maps: token mixers, one per file, and parts."""

from .activations import SquaredReLU, StarReLU
from .afno import AFNO2D
from .channels_first import DynamicFilter2d, GlobalFilter2d
from .convolution import convolve
from .dynamic_filter import DynamicFilter, distance_from_uniform
from .global_filter import ExpandedGlobalFilter, GlobalFilter
from .grid_parameter import GridParameter
from .half_spectrum import HalfSpectrum
from .linear import Linear, mlp
from .residual import Residual
from .sep_conv import SepConv

__all__ = [
    'AFNO2D',
    'DynamicFilter',
    'DynamicFilter2d',
    'ExpandedGlobalFilter',
    'GlobalFilter',
    'GlobalFilter2d',
    'GridParameter',
    'HalfSpectrum',
    'Linear',
    'Residual',
    'SepConv',
    'SquaredReLU',
    'StarReLU',
    'convolve',
    'distance_from_uniform',
    'mlp',
]
