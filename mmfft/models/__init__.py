# Copyright (c) mmfft authors. All rights reserved.
"""The backbones as plain modules, and the classifier of their family."""

from .base import FourierBackbone
from .dfformer import CDFFormer, DFFormer, GFFormer
from .gfnet import GFNet, GFNetPyramid
from .metaformer import MetaFormer
from .mlp_classifier import MlpClassifier

__all__ = [
    'CDFFormer',
    'DFFormer',
    'FourierBackbone',
    'GFFormer',
    'GFNet',
    'GFNetPyramid',
    'MetaFormer',
    'MlpClassifier',
]
