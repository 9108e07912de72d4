# Copyright (c) mmfft authors. All rights reserved.
"""Published checkpoints into ours, and safe loading of any."""

from .loading import (
    download,
    load_checkpoint_file,
    register_allowed_globals,
)
from .published import convert_published, is_published
from .zoo import published_names

__all__ = [
    'convert_published',
    'download',
    'is_published',
    'load_checkpoint_file',
    'published_names',
    'register_allowed_globals',
]
