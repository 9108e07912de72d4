# Copyright (c) mmfft authors. All rights reserved.
"""Export of trained models from PyTorch to other runtimes."""

from ..openmmlab import required
from .networks import (
    Classifier,
    Features,
    Network,
    RetinaNet,
    Segmentor,
    load_network,
)
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
    'Features',
    'Network',
    'RetinaNet',
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
