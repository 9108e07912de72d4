# Copyright (c) mmfft authors. All rights reserved.
from .dfformer import CDFFormer, DFFormer, GFFormer
from .gfnet import GFNet, GFNetPyramid
from .metaformer import MetaFormer

__all__ = [
    'CDFFormer',
    'DFFormer',
    'GFFormer',
    'GFNet',
    'GFNetPyramid',
    'MetaFormer',
]
