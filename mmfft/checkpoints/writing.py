# Copyright (c) mmfft authors. All rights reserved.
"""Checkpoints that can be read again without running what is in them."""

import io
import os
from collections import OrderedDict, defaultdict, deque
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter

from ..errors import ConfigError
from .allowed import register_allowed_globals
from .safetensors_files import SUFFIX, to_safetensors

_LEFT_OUT = object()
_SIMPLE = (Tensor, Parameter, str, int, float, bool, type(None))


class _Call:
    """Unpickled as what a class returns for some arguments.

    Pickles fill a ``defaultdict`` or a ``deque`` after they made it, which
    PyTorch's safe reader does for its own few containers only.
    """

    def __init__(self, cls: type, *args) -> None:
        self.call = cls, args

    def __reduce__(self):
        return self.call


def make_readable(value: dict, where: str = '') -> tuple[dict, dict[str, str]]:
    """The part of a checkpoint that :func:`read_file` can read again.

    Args:
        value (dict): A checkpoint or a part of it. It is not changed.
        where (str): Name of it, for the names of what is left out.

    Returns:
        tuple[dict, dict[str, str]]: The checkpoint, the same object where
        nothing had to be changed; and by name the class of each entry that
        was left out because reading it would run code.
    """
    left_out: dict[str, str] = {}
    return _readable(value, where, left_out), left_out


def _readable(value: Any, where: str, left_out: dict[str, str]) -> Any:
    if type(value) in (dict, OrderedDict, defaultdict):
        entries = {
            key: _readable(one, f'{where}[{key!r}]', left_out)
            for key, one in value.items()
            if _readable(key, f'a key of {where}', left_out) is not _LEFT_OUT
        }
        entries = {k: v for k, v in entries.items() if v is not _LEFT_OUT}
        if isinstance(value, defaultdict):
            factory = value.default_factory
            if not _is_read(defaultdict(factory)):
                left_out[f'{where}.default_factory'] = repr(factory)
                return entries
            return _Call(defaultdict, factory, entries)
        return _like(value, entries)
    if type(value) in (list, tuple, deque):
        items = [
            _readable(one, f'{where}[{i}]', left_out)
            for i, one in enumerate(value)
        ]
        # Without it the others would stand at other places.
        if any(one is _LEFT_OUT for one in items):
            return _LEFT_OUT
        if isinstance(value, deque):
            return _Call(deque, items, value.maxlen)
        return _like(value, items)
    if type(value) in _SIMPLE or _is_read(value):
        return value
    left_out[where] = f'{type(value).__module__}.{type(value).__qualname__}'
    return _LEFT_OUT


def _like(value, entries: dict | list):
    """A container with these entries; itself, if they are its own."""
    old = value.values() if isinstance(value, dict) else value
    new = entries.values() if isinstance(entries, dict) else entries
    if len(old) == len(new) and all(a is b for a, b in zip(old, new)):
        return value
    made = type(value)(entries)
    # Modules keep the versions of a state dict beside it.
    if hasattr(value, '_metadata'):
        made._metadata = value._metadata
    return made


def _is_read(value: Any) -> bool:
    if type(value) is np.ndarray and not value.dtype.hasobject:
        return True
    buffer = io.BytesIO()
    try:
        register_allowed_globals()
        torch.save(value, buffer)
        buffer.seek(0)
        torch.load(buffer, weights_only=True)
    # The classes of objects fail in ways of their own.
    except Exception:
        return False
    return True


def content_of(checkpoint: dict, path: str | Path) -> bytes:
    """What is written to a path: safetensors where it ends so.

    Args:
        checkpoint (dict): A checkpoint, or tensors by name.
        path (str | Path): Path that is to be written; any other ending than
            ``.safetensors`` means PyTorch's format.

    Returns:
        bytes: Content of the file.

    Raises:
        ConfigError: If safetensors cannot hold it, see
            :func:`to_safetensors`.
    """
    if Path(path).suffix == SUFFIX:
        return to_safetensors(checkpoint)
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    return buffer.getvalue()


def write_new(path: str | Path, content: bytes) -> None:
    """Write a file that is there under its name only once it is complete.

    Args:
        path (str | Path): Path of the file; its folder is made.
        content (bytes): Content of the file.

    Raises:
        ConfigError: If the file exists already.
    """
    path = Path(path)
    refuse_existing(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f'.{path.name}.{os.getpid()}')
    try:
        part.write_bytes(content)
        part.rename(path)
    finally:
        part.unlink(missing_ok=True)


def refuse_existing(path: str | Path) -> None:
    """See that nothing is overwritten, before anything is computed for it.

    Args:
        path (str | Path): Path that is to be written.

    Raises:
        ConfigError: If it exists.
    """
    if Path(path).exists():
        raise ConfigError(f'{str(path)!r} exists already: choose another name')
