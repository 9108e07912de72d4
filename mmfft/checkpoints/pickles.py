# Copyright (c) mmfft authors. All rights reserved.
"""Pickles that PyTorch did not write, read without running them."""

import _compat_pickle
import io
import pickle
from collections.abc import Callable
from typing import Any

import torch

from ..errors import ConfigError
from .allowed import allowed_globals


def _load_storage(data: bytes):
    return torch.load(io.BytesIO(data), weights_only=True)


class DataUnpickler(pickle.Unpickler):
    """Reads tensors and what is on the allow-list, in any protocol."""

    tensors: dict[str, Callable] = {
        'torch._utils._rebuild_tensor_v2': torch._utils._rebuild_tensor_v2,
        'torch.storage._load_from_bytes': _load_storage,
    }

    def find_class(self, module: str, name: str) -> Any:
        # As pickle does it for the protocols that Python 2 could read.
        module, name = _compat_pickle.NAME_MAPPING.get(
            (module, name),
            (_compat_pickle.IMPORT_MAPPING.get(module, module), name),
        )
        path = f'{module}.{name}'
        if path in self.tensors:
            return self.tensors[path]
        known = allowed_globals()
        if path in known:
            return known[path]
        return self.unknown(module, name)

    def unknown(self, module: str, name: str) -> Any:
        """Return what stands for a name that is not allowed, or raise."""
        raise pickle.UnpicklingError(f'{module}.{name} is not data')


def load_predictions(path: str) -> list[dict]:
    """Read what ``tools/test.py --out predictions.pkl`` wrote.

    Args:
        path (str): Path of the file.

    Returns:
        list[dict]: One dict per image, of numbers, strings, tensors, arrays
        and containers of such.

    Raises:
        ConfigError: If the file does not exist, holds anything else, which
            could run code, or is torn.
    """
    try:
        with open(path, 'rb') as file:
            return DataUnpickler(file).load()
    except FileNotFoundError as error:
        raise ConfigError(f'{path!r} does not exist') from error
    # A file that is not a pickle can raise anything.
    except Exception as error:
        raise ConfigError(
            f'{path!r} is not a dump of predictions, or is torn, and was not '
            f'read further ({type(error).__name__}: {error})'
        ) from error
