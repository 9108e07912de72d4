# Copyright (c) mmfft authors. All rights reserved.
"""Trained models for others: other runtimes, and the layout of timm's hub."""

from ..openmmlab import required
from .loading import load_network
from .networks import Classifier, Network, Segmentor
from .onnx import (
    benchmark,
    check_graph,
    check_shapes,
    compare,
    export,
    open_parts,
    open_session,
)

__all__ = [
    'Classifier',
    'Network',
    'Segmentor',
    'benchmark',
    'check_graph',
    'check_shapes',
    'compare',
    'export',
    'load_network',
    'open_parts',
    'open_session',
]
