# Copyright (c) mmfft authors. All rights reserved.
"""Published checkpoints into ours, and safe loading of any."""

from .allowed import allow, allowed_globals, register_allowed_globals
from .downloading import download, published_file
from .hardening import harden, is_hardened
from .published import convert_published, is_published
from .publishing import publish
from .reading import load_checkpoint_file, read_file, unwrap
from .zoo import published_names

__all__ = [
    'allow',
    'allowed_globals',
    'convert_published',
    'download',
    'harden',
    'is_hardened',
    'is_published',
    'load_checkpoint_file',
    'publish',
    'published_file',
    'published_names',
    'read_file',
    'register_allowed_globals',
    'unwrap',
]
