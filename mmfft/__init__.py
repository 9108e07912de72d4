# Copyright (c) mmfft authors. All rights reserved.
from .registry import MODELS
from .version import __version__, version_info

__all__ = ['MODELS', '__version__', 'version_info']
