# Copyright (c) mmfft authors. All rights reserved.
"""Heads; those of a toolbox are there where the toolbox is."""

from importlib.util import find_spec

from ..openmmlab import required

__all__ = []

if find_spec('mmpretrain') is not None:
    from .mlp_head import MlpHead

    __all__ += ['MlpHead']
