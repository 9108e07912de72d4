# Copyright (c) mmfft authors. All rights reserved.
"""Data preprocessors that tell the backbone how large each image is.

Each is available if the toolbox that it extends is installed.
"""

from importlib.util import find_spec

from ..openmmlab import required

__all__ = []

if find_spec('mmdet') is not None:
    from .detection import DetDataPreprocessor

    __all__ += ['DetDataPreprocessor']
if find_spec('mmseg') is not None:
    from .segmentation import SegDataPreProcessor

    __all__ += ['SegDataPreProcessor']
