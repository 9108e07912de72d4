# Copyright (c) mmfft authors. All rights reserved.
"""Dumps of predictions, which are pickles, read without running them."""

import codecs
import io
import pickle
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ..errors import ConfigError


def numpy_functions() -> dict[tuple[str, str], Callable]:
    """What pickles call to make arrays and scalars of NumPy.

    They are asked of NumPy's own pickling: where the module of these
    functions is, ``numpy.core`` or ``numpy._core``, changed with NumPy 2. A
    pickle of either may be read with either.

    Returns:
        dict[tuple[str, str], Callable]: By module and name as in a pickle.
    """
    functions = [one.__reduce__()[0] for one in (np.empty(0), np.float64(0))]
    return {
        (f'numpy.{core}.multiarray', function.__name__): function
        for function in functions
        for core in ('core', '_core')
    }


_ALLOWED = {
    # Bytes, in the protocol that mmengine writes.
    ('_codecs', 'encode'): codecs.encode,
    ('collections', 'OrderedDict'): OrderedDict,
    ('numpy', 'dtype'): np.dtype,
    ('numpy', 'ndarray'): np.ndarray,
    ('torch._utils', '_rebuild_tensor_v2'): torch._utils._rebuild_tensor_v2,
    **numpy_functions(),
}


def _load_storage(data: bytes):
    return torch.load(io.BytesIO(data), weights_only=True)


class _DataUnpickler(pickle.Unpickler):
    """Reads tensors, arrays and what Python has built in for data."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ('torch.storage', '_load_from_bytes'):
            return _load_storage
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        raise pickle.UnpicklingError(f'{module}.{name} is not data')


def load_predictions(path: str) -> list[dict]:
    """What ``tools/test.py --out predictions.pkl`` wrote.

    Args:
        path (str): The file.

    Returns:
        list[dict]: A dict an image, of numbers, strings, tensors, arrays and
        containers of such.

    Raises:
        ConfigError: If the file does not exist, holds anything else, which
            could run code, or is torn.
    """
    try:
        with open(path, 'rb') as file:
            return _DataUnpickler(file).load()
    except FileNotFoundError as error:
        raise ConfigError(f'{path!r} does not exist') from error
    # A pickle that is none can raise anything.
    except Exception as error:
        raise ConfigError(
            f'{path!r} is not a dump of predictions, or is torn, and was not '
            f'read further ({type(error).__name__}: {error})'
        ) from error
