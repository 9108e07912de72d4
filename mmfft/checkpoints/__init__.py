# Copyright (c) mmfft authors. All rights reserved.
"""Published checkpoints into ours, and safe loading of any."""

from .loading import allowed_globals, download, load_checkpoint_file
from .published import convert_published, is_published
from .zoo import published_names

__all__ = [
    'allowed_globals',
    'convert_published',
    'download',
    'is_published',
    'load_checkpoint_file',
    'published_names',
]
