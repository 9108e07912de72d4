# Copyright (c) mmfft authors. All rights reserved.
"""mmengine's ``CheckpointLoader`` takes published files and ``mmfft://``.

``init_cfg``, ``load_from`` and ``--resume`` go through it. What mmengine loads
by itself it loads as before: its own function reads the file, and the result
is passed on, unless it is a state dict in the published names of one of our
models. After :func:`mmfft.checkpoints.harden` local files and downloads are
read by :func:`mmfft.checkpoints.load_checkpoint_file` instead.

What mmengine's own checkpoints hold beside tensors is registered with PyTorch:
the original mmengine could not read them with PyTorch 2.6 and later.
"""

import functools
from collections.abc import Callable
from types import ModuleType

import torch

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
from .after_import import after_import


def register_checkpoint_schemes() -> None:
    """Do so as soon as mmengine's modules are imported."""
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
    # The schemes of names look up an address and call this one by its name.
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
    """OneDL's ``torch.load``, by our list once loading is hardened.

    Its own list has ``getattr``, by which a file reaches ``eval``.
    """

    @functools.wraps(load)
    def load_by_list(file, map_location=None, weights_only=None):
        if not is_hardened():
            return load(file, map_location, weights_only)
        register_allowed_globals()
        return torch.load(file, map_location=map_location, weights_only=True)

    return load_by_list


def _wrap(load: Callable, load_safely: Callable) -> Callable:
    """One of mmengine's loaders, for published files and hardened reading."""

    @functools.wraps(load)
    def load_and_convert(filename: str, map_location=None, *args, **kwargs):
        if is_hardened():
            return load_safely(filename, map_location)
        checkpoint = load(filename, map_location, *args, **kwargs)
        if not isinstance(checkpoint, dict):
            return checkpoint
        state_dict = unwrap(checkpoint)
        # A model of others may have parts with the names of ours.
        if not is_published(state_dict) or foreign_names(state_dict):
            return checkpoint
        return dict(state_dict=convert_published(state_dict))

    return load_and_convert


def load_from_mmfft(filename: str, map_location=None) -> dict:
    """``mmfft://dfformer-s18_in1k``, see :mod:`mmfft.checkpoints.zoo`."""
    file = published_file(filename.removeprefix('mmfft://'))
    return load_checkpoint_file(file, map_location)
