# Copyright (c) mmfft authors. All rights reserved.
"""Let mmengine's ``CheckpointLoader`` read published files and ``mmfft://``.

``init_cfg``, ``load_from`` and ``--resume`` go through this loader. mmengine's
own functions still read what they read before; their result is converted only
if it is a state dict with the published names of one of our models. Files that
end with ``.safetensors``, which mmengine cannot read, are read here. After
:func:`mmfft.checkpoints.harden`, local files and downloads are read by
:func:`mmfft.checkpoints.load_checkpoint_file` instead.

The classes that mmengine's own checkpoints contain besides tensors are
registered with PyTorch: without this, the original mmengine cannot read its
checkpoints with PyTorch 2.6 and later.
"""

import functools
from collections.abc import Callable
from types import ModuleType

import torch

from ..after_import import after_import
from ..checkpoints import (
    allow,
    convert_published,
    download,
    is_hardened,
    is_published,
    load_checkpoint_file,
    published_file,
    register_allowed_globals,
    unwrap,
)
from ..checkpoints.allowed import mmengine_globals
from ..checkpoints.published import foreign_names
from ..checkpoints.safetensors_files import SUFFIX


def register_checkpoint_schemes() -> None:
    """Extend mmengine's loading as soon as its modules are imported."""
    after_import(
        'mmengine.logging.history_buffer',
        lambda module: allow(module.HistoryBuffer),
    )
    after_import(
        'mmengine.config.config', lambda module: allow(module.ConfigDict)
    )
    after_import('mmengine.runner.checkpoint', _register)


def _register(module: ModuleType) -> None:
    register_allowed_globals(mmengine_globals())
    register = module.CheckpointLoader.register_scheme
    load_from_local = _wrap(module.load_from_local, load_checkpoint_file)
    register(prefixes='', loader=load_from_local, force=True)
    # Loaders for named models look up a URL and call this function by name.
    module.load_from_http = _wrap(
        module.load_from_http,
        lambda url, map_location: load_checkpoint_file(
            download(url), map_location
        ),
    )
    register(
        prefixes=('http://', 'https://'),
        loader=module.load_from_http,
        force=True,
    )
    register(prefixes='mmfft://', loader=load_from_mmfft)
    if hasattr(module, '_safe_torch_load'):
        module._safe_torch_load = _without_getattr(module._safe_torch_load)


def _without_getattr(load: Callable) -> Callable:
    """Make OneDL's ``torch.load`` use our allowlist once loading is hardened.

    OneDL's own list contains ``getattr``, through which a file reaches
    ``eval``.
    """

    @functools.wraps(load)
    def load_by_list(file, map_location=None, weights_only=None):
        if not is_hardened():
            return load(file, map_location, weights_only)
        register_allowed_globals()
        return torch.load(file, map_location=map_location, weights_only=True)

    return load_by_list


def _wrap(load: Callable, load_safely: Callable) -> Callable:
    """Make a loader of mmengine convert published files.

    Once loading is hardened, and for safetensors, ``load_safely`` is called
    instead of it.
    """

    @functools.wraps(load)
    def load_and_convert(filename: str, map_location=None, *args, **kwargs):
        if is_hardened() or str(filename).endswith(SUFFIX):
            return load_safely(filename, map_location)
        checkpoint = load(filename, map_location, *args, **kwargs)
        if not isinstance(checkpoint, dict):
            return checkpoint
        state_dict = unwrap(checkpoint)
        # Other people's models may have parts with the same names as ours.
        if not is_published(state_dict) or foreign_names(state_dict):
            return checkpoint
        return dict(state_dict=convert_published(state_dict))

    return load_and_convert


def load_from_mmfft(filename: str, map_location=None) -> dict:
    """Load ``mmfft://`` and a name of :mod:`mmfft.checkpoints.zoo`.

    An example is ``mmfft://dfformer-s18_in1k``.
    """
    file = published_file(filename.removeprefix('mmfft://'))
    return load_checkpoint_file(file, map_location)
