# Copyright (c) mmfft authors. All rights reserved.
"""The models of :mod:`mmfft.models` as backbones of OpenMMLab."""

from ..openmmlab import required
from .base import FourierBackbone
from .dfformer import CDFFormer, DFFormer, GFFormer, MetaFormer
from .gfnet import GFNet, GFNetPyramid
from .initializers import UnitVariance

__all__ = [
    'CDFFormer',
    'DFFormer',
    'FourierBackbone',
    'GFFormer',
    'GFNet',
    'GFNetPyramid',
    'MetaFormer',
    'UnitVariance',
]
