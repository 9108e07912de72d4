# Copyright (c) mmfft authors. All rights reserved.
"""Metrics, each available if the toolbox that it extends is installed."""

from importlib.util import find_spec

from ..openmmlab import required

__all__ = []

if find_spec('mmpretrain') is not None:
    from .subset_accuracy import SubsetAccuracy

    __all__ += ['SubsetAccuracy']
