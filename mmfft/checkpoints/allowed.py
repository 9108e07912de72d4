# Copyright (c) mmfft authors. All rights reserved.
"""What a file may hold besides tensors: the one allow-list.

A class is on it if making one, from any arguments and with any state, runs
nothing that the file chose. Where a class could, a function stands in its
place that looks at the arguments first.
"""

import argparse
import codecs
import os
import pathlib
import pickle
import threading
import types
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID

import numpy as np
import torch


class HistoryBuffer:
    """Stands for mmengine's training log where mmengine is not installed.

    It holds what was saved and has no methods. mmengine's own class takes its
    place by :func:`allow`.
    """

    __module__ = 'mmengine.logging.history_buffer'


def _history_buffer_method(owner: type, name: str):
    """``getattr`` for what mmengine's checkpoints call it for, and no more."""
    if owner is not _allowed[_HISTORY] or name.startswith('_'):
        raise pickle.UnpicklingError(
            f'getattr({owner!r}, {name!r}) is not of a HistoryBuffer'
        )
    return getattr(owner, name, name)


_FACTORIES = (bool, int, float, str, list, tuple, dict, set, OrderedDict)


def _defaultdict(factory: Callable | None = None, *items) -> dict:
    """A ``defaultdict`` that calls nothing but a type of plain data."""
    if not (factory is None or any(factory is one for one in _FACTORIES)):
        raise pickle.UnpicklingError(
            f'collections.defaultdict({factory!r}) could call anything'
        )
    if not items and getattr(_reader, 'fills_later', False):
        stand_in: Any = OrderedDict()
        stand_in.default_factory = factory
        return stand_in
    return defaultdict(factory, *items)


_reader = threading.local()


@contextmanager
def standing_in_for_defaultdicts() -> Iterator[None]:
    """Read the defaultdicts of a pickle as ordered dicts, in this thread.

    PyTorch's safe reader fills no others from 2.5 on. :func:`restore` puts
    the defaultdicts back.
    """
    _reader.fills_later = True
    try:
        yield
    finally:
        _reader.fills_later = False


def restore(value: Any, done: dict[int, Any] | None = None) -> Any:
    """Put the defaultdicts of a file in the place of what stands for them.

    Args:
        value (Any): Object that was read; its containers are changed in
            place.
        done (dict[int, Any], optional): What was restored, by identity, since
            an object may stand in several places, also within itself.

    Returns:
        Any: The value, or the object that it stands for.
    """
    done = {} if done is None else done
    containers = (dict, OrderedDict, list, tuple)
    if id(value) in done or type(value) not in containers:
        return done.get(id(value), value)
    done[id(value)] = value
    if type(value) is tuple:
        made = tuple(restore(one, done) for one in value)
        if any(a is not b for a, b in zip(made, value)):
            done[id(value)] = made
        return done[id(value)]
    if hasattr(value, 'default_factory'):
        done[id(value)] = _defaultdict(value.default_factory)
        done[id(value)].update(value)
    value = done[id(value)]
    for key, one in enumerate(value) if type(value) is list else value.items():
        value[key] = restore(one, done)
    return value


def _paths() -> dict[str, type]:
    """Paths by their names in pickles; another system's become pure."""
    ours, theirs = 'PosixPath', 'WindowsPath'
    if os.name == 'nt':
        ours, theirs = theirs, ours
    classes = {name: getattr(pathlib, name) for name in (ours, f'Pure{ours}')}
    pure = getattr(pathlib, f'Pure{theirs}')
    classes.update({theirs: pure, f'Pure{theirs}': pure})
    # Python 3.13 has them in a module of their own.
    return {
        f'{module}.{name}': cls
        for module in ('pathlib', 'pathlib._local')
        for name, cls in classes.items()
    }


def _numpy_functions() -> dict[str, Callable]:
    """What pickles call to make arrays and scalars of NumPy.

    NumPy's own pickling tells them: their module, ``numpy.core`` before NumPy
    2 and ``numpy._core`` since, may be either in a pickle.
    """
    functions: list[Any] = [
        one.__reduce__()[0] for one in (np.empty(0), np.float64(0))
    ]
    return {
        f'numpy.{core}.multiarray.{function.__name__}': function
        for function in functions
        for core in ('core', '_core')
    }


def _named(function: Callable, path: str) -> Callable:
    """A function that pickles know by another name.

    PyTorch before 2.6 cannot be given a name with what is allowed.
    """

    def call(*args):
        return function(*args)

    call.__module__, _, call.__qualname__ = path.rpartition('.')
    call.__name__ = call.__qualname__
    return call


def _path(one: Callable) -> str:
    return f'{one.__module__}.{one.__qualname__}'


_HISTORY = _path(HistoryBuffer)
# Logs of training in mmengine's checkpoints, and the arguments that the
# published training scripts keep.
_MMENGINE: tuple[Callable, ...] = (
    HistoryBuffer,
    _named(_history_buffer_method, 'builtins.getattr'),
    argparse.Namespace,
    codecs.encode,  # bytes; newer PyTorch takes them anyway
    np.ndarray,
    np.dtype,
    *(_named(call, path) for path, call in _numpy_functions().items()),
    # The formats that have a class of their own; the module has other names.
    *(
        cls
        for cls in vars(np.dtypes).values()
        if isinstance(cls, type) and issubclass(cls, np.dtype)
    ),
)
_PLAIN: tuple[Callable, ...] = (
    *_FACTORIES,
    bytes,
    bytearray,
    complex,
    frozenset,
    range,
    slice,
    Counter,
    deque,
    _named(_defaultdict, 'collections.defaultdict'),
    argparse.Namespace,
    types.SimpleNamespace,
    *(_named(cls, path) for path, cls in _paths().items()),
    *(date, datetime, time, timedelta, timezone),
    *(Decimal, Fraction, UUID),
    *(np.recarray, np.record),
)
_allowed: dict[str, Callable] = {
    _path(one): one for one in (*_MMENGINE, *_PLAIN)
}


def allow(*objects: type) -> None:
    """Add classes of data; a class replaces another one of its name.

    Args:
        *objects (type): Classes; making an instance of one must not run
            anything that a file chose.
    """
    for one in objects:
        stale = _allowed.get(_path(one))
        _allowed[_path(one)] = one
        known = torch.serialization.get_safe_globals()
        if stale in known:
            # PyTorch 2.4 cannot take a single one back.
            torch.serialization.clear_safe_globals()
            torch.serialization.add_safe_globals(
                [one if each is stale else each for each in known]
            )


def allowed_globals() -> dict[str, Callable]:
    """Everything besides tensors that a file may hold.

    Returns:
        dict[str, Callable]: By module and name, as in pickles.
    """
    return dict(_allowed)


def mmengine_globals() -> list[Callable]:
    """The part of the list that mmengine's own checkpoints need."""
    return [_allowed[_path(one)] for one in _MMENGINE]


def register_allowed_globals(objects: Iterable[Callable] = ()) -> None:
    """Let every ``torch.load(weights_only=True)`` take what is allowed.

    Args:
        objects (Iterable[Callable]): Part of the list. Defaults to all of
            it.
    """
    known = set(torch.serialization.get_safe_globals())
    torch.serialization.add_safe_globals(
        [one for one in objects or _allowed.values() if one not in known]
    )
