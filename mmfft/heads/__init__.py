# Copyright (c) mmfft authors. All rights reserved.
"""Heads, each available if the toolbox that it extends is installed."""

from importlib.util import find_spec

from ..openmmlab import required

__all__ = []

if find_spec('mmpretrain') is not None:
    from .mlp_head import MlpHead

    __all__ += ['MlpHead']
if find_spec('mmdet') is not None:
    from .rpn_head import RPNHead

    __all__ += ['RPNHead']
