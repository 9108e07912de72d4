# Copyright (c) mmfft authors. All rights reserved.
"""Trained models out of PyTorch."""

from ..openmmlab import required
from .networks import Classifier, Detector, Network, Segmentor, load_network
from .onnx import (
    benchmark,
    check_graph,
    check_shapes,
    compare,
    export,
    open_session,
)

__all__ = [
    'Classifier',
    'Detector',
    'Network',
    'Segmentor',
    'benchmark',
    'check_graph',
    'check_shapes',
    'compare',
    'export',
    'load_network',
    'open_session',
]
