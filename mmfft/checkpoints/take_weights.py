# Copyright (c) mmfft authors. All rights reserved.
"""Take only the weights of a file that holds more.

It runs by ``python -m mmfft.checkpoints.take_weights``. Nothing in the file is
executed. What is not on the allow-list is not looked up; an inert object takes
its place, which keeps what it is given. A module that was pickled whole thus
gives its parameters and buffers, whether its class is installed or not. It
remains possible to make a file that fills the memory, or crashes NumPy, which
trusts the formats of arrays.
"""

import argparse
import contextlib
import os
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor

from ..errors import ConfigError
from .pickles import DataUnpickler
from .reading import MAGIC
from .writing import content_of, refuse_existing, write_new


class Inert:
    """Stands for an object of any class; keeps what a pickle gives it."""

    _inert_items: dict

    def __new__(cls, *args, **kwargs):
        self = super().__new__(cls)
        self._inert_items = {}
        return self

    def __init__(self, *args, **kwargs) -> None:
        """Take whatever the class takes."""

    def __call__(self, *args):
        return Inert()

    def __setstate__(self, state) -> None:
        # Those of the slots come second.
        for part in state if isinstance(state, tuple) else (state,):
            if isinstance(part, dict):
                self.__dict__.update(part)

    def __setitem__(self, key, value) -> None:
        self._inert_items[key] = value

    def append(self, item) -> None:
        self._inert_items[len(self._inert_items)] = item


def _subclass_of_tensor(function, cls, args, state) -> Tensor:
    """A tensor without its attributes, and of no class of its own."""
    return function(*args)


_REBUILD = (
    torch._utils._rebuild_tensor,
    torch._utils._rebuild_tensor_v2,
    torch._utils._rebuild_parameter,
    torch._utils._rebuild_parameter_with_state,
    torch._utils._rebuild_sparse_tensor,
    torch._utils._rebuild_qtensor,
)


class _InertUnpickler(DataUnpickler):
    tensors = {
        **DataUnpickler.tensors,
        **{f'torch._utils.{one.__name__}': one for one in _REBUILD},
        'torch._tensor._rebuild_from_type_v2': _subclass_of_tensor,
        'torch.Size': torch.Size,
        'torch.device': torch.device,
        # The list has those that look at their arguments, and refuse.
        'builtins.getattr': lambda *args: Inert(),
        'collections.defaultdict': lambda factory=None, *items: dict(*items),
    }

    def unknown(self, module: str, name: str):
        value = getattr(torch, name, None) if module == 'torch' else None
        if isinstance(value, (torch.dtype, torch.layout, torch.qscheme)):
            return value
        return type(name, (Inert,), dict(__module__=module))


# The parts of a ``pickle_module`` that torch.load uses.
_INERT_PICKLE = SimpleNamespace(
    __name__='inert',
    Unpickler=_InertUnpickler,
    load=lambda file, **kwargs: _InertUnpickler(file, **kwargs).load(),
)


def take_weights(source: str, target: str) -> tuple[int, list[str]]:
    """Write the weights of a file as a state dict.

    Args:
        source (str): Path of a checkpoint, of a module that was saved whole,
            or of a pickle of arrays.
        target (str): Path to write to; must not exist. It is safetensors if
            it ends so, PyTorch's format otherwise.

    Returns:
        tuple[int, list[str]]: Number of tensors, and names of what was left
        out because it is not a tensor.

    Raises:
        ConfigError: If ``source`` is missing, torn or has no weights, or
            ``target`` exists.
    """
    refuse_existing(target)
    state = dict(_state_of(_read_inert(source)))
    weights = {
        name: value.detach()
        for name, value in state.items()
        if isinstance(value, Tensor)
    }
    if not weights:
        raise ConfigError(f'{source!r} holds no weights that could be taken')
    write_new(target, content_of(weights, target))
    return len(weights), [name for name in state if name not in weights]


def _read_inert(source: str):
    try:
        with open(source, 'rb') as file:
            head = file.read(16)
            file.seek(0)
            if not (head.startswith(b'PK') or MAGIC in head):
                return _InertUnpickler(file).load()
            with _own_pickle():
                return torch.load(
                    file,
                    map_location='cpu',
                    pickle_module=_INERT_PICKLE,
                    weights_only=False,
                )
    except FileNotFoundError as error:
        raise ConfigError(f'{source!r} does not exist') from error
    # A file that is not a pickle can raise anything.
    except Exception as error:
        raise ConfigError(
            f'{source!r} cannot be read ({type(error).__name__}: {error})'
        ) from error


@contextlib.contextmanager
def _own_pickle() -> Iterator[None]:
    """Lift the switch of :func:`harden`, which forbids any other reader."""
    switch = os.environ.pop('TORCH_FORCE_WEIGHTS_ONLY_LOAD', None)
    try:
        yield
    finally:
        if switch is not None:
            os.environ['TORCH_FORCE_WEIGHTS_ONLY_LOAD'] = switch


def _items(value) -> dict | None:
    if isinstance(value, Inert):
        return value._inert_items
    return value if isinstance(value, dict) else None


def _state_of(value) -> Iterator[tuple[str, object]]:
    """Names and values of a state dict, however it is wrapped."""
    if '_parameters' in getattr(value, '__dict__', {}):
        yield from _state_of_module(value, '')
        return
    items = _items(value)
    if items is None:
        raise ConfigError(
            f'the file holds a {type(value).__name__}, not a state dict or a '
            'module'
        )
    for wrapper in ('state_dict', 'model'):
        if not isinstance(items.get(wrapper), (Tensor, type(None))):
            yield from _state_of(items[wrapper])
            return
    for name, one in items.items():
        is_array = isinstance(one, np.ndarray) and one.dtype.kind in 'biufc'
        yield str(name), torch.from_numpy(one) if is_array else one


def _state_of_module(module: Inert, prefix: str) -> Iterator:
    passing = vars(module).get('_non_persistent_buffers_set', ())
    for name, tensor in vars(module)['_parameters'].items():
        if tensor is not None:
            yield prefix + name, tensor
    for name, tensor in vars(module).get('_buffers', {}).items():
        if tensor is not None and name not in passing:
            yield prefix + name, tensor
    for name, child in vars(module).get('_modules', {}).items():
        if child is not None:
            yield from _state_of_module(child, f'{prefix}{name}.')


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog='python -m mmfft.checkpoints.take_weights',
        description='Take only the weights of a checkpoint that holds other '
        'objects, of a module that was saved whole, or of a pickle of '
        'arrays. Nothing in the file is executed. A file made for that '
        'purpose can still fill the memory or crash the process.',
    )
    parser.add_argument('source', help='the file')
    parser.add_argument('target', help='where to write the state dict')
    args = parser.parse_args()
    try:
        number, left_out = take_weights(args.source, args.target)
    except ConfigError as error:
        parser.exit(2, f'take_weights: error: {error}\n')
    print(f'{number} tensors in {args.target}')
    if left_out:
        print(f'left out, since they are not tensors: {", ".join(left_out)}')


if __name__ == '__main__':
    main()
