# Copyright (c) mmfft authors. All rights reserved.
"""Heads; those of a toolbox are there where the toolbox is."""

from importlib.util import find_spec

from .mlp_classifier import MlpClassifier

__all__ = ['MlpClassifier']

if find_spec('mmpretrain') is not None:
    from .mlp_head import MlpHead

    __all__ += ['MlpHead']
