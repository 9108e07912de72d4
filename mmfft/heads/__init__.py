# Copyright (c) mmfft authors. All rights reserved.
"""Heads. Each belongs to a toolbox and is there where the toolbox is."""

from importlib.util import find_spec

__all__ = []

if find_spec('mmpretrain') is not None:
    from .mlp_head import MlpHead

    __all__ += ['MlpHead']
