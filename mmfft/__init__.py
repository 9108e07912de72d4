# Copyright (c) mmfft authors. All rights reserved.
"""Fourier token mixers as backbones.

The core (``ops``, ``layers``, ``models``, ``checkpoints``, ``timm_models``)
needs only torch and timm. If mmengine is installed, importing this package
registers our names with it and with the toolboxes.
"""

from importlib import import_module
from importlib.util import find_spec

from .version import __version__, version_info

__all__ = ['MODELS', '__version__', 'version_info']

if find_spec('mmengine') is not None:
    from .registration import register_with_openmmlab

    register_with_openmmlab()


def __getattr__(name: str):
    """Import a subpackage or the registry when it is first asked for."""
    if name == 'MODELS':
        return import_module('.registry', __name__).MODELS
    if not name.startswith('_') and find_spec(f'{__name__}.{name}'):
        return import_module(f'.{name}', __name__)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
