# Copyright (c) mmfft authors. All rights reserved.
"""What a GPU would be told to do, seen on a machine without one.

Tensors without values stand for those of the GPU: on ``'cuda'`` under
PyTorch's ``FakeTensorMode``, or on ``'meta'``, where backward passes run, too.
"""

from collections import Counter
from contextlib import contextmanager, nullcontext

import torch
from torch._library.custom_ops import OPDEFS
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_FROM_NUMBERS = (
    torch.tensor,
    torch.as_tensor,
    torch.from_numpy,
    torch.Tensor.new_tensor,
)
# Earlier versions need a driver for the one, and do not recompute on the other
# (seen on 2.4).
HAS_FAKE_CUDA = torch.__version__ >= '2.8'
DEVICES = ('meta', 'cuda') if HAS_FAKE_CUDA else ('meta',)


def without_values(device):
    """Make new tensors on one of ``DEVICES`` have no values."""
    return FakeTensorMode() if device == 'cuda' else nullcontext()


@contextmanager
def device_only():
    """Refuse what makes the host wait for a GPU.

    That is to read a value, to copy from one device to another, and to make a
    tensor of numbers. Operators of mmfft are looked into.

    Yields:
        Counter: How often each operator was called, by name.
    """
    with _NoNumbers(), _NoTransfers() as mode:
        yield mode.calls


class _NoNumbers(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        assert func not in _FROM_NUMBERS, 'a tensor is made of numbers'
        return func(*args, **(kwargs or {}))


class LookInside(TorchDispatchMode):
    """Passes each operator to ``call``, and of mmfft's what is inside."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func._schema.name
        if name in OPDEFS and func.namespace == 'mmfft':
            with self:
                return OPDEFS[name]._init_fn(*args, **kwargs)
        return self.call(name, func, args, kwargs)


class _NoTransfers(LookInside):
    def __init__(self):
        super().__init__()
        self.calls = Counter()

    def call(self, name, func, args, kwargs):
        assert name != 'aten::_local_scalar_dense', 'a value is read'
        out = func(*args, **kwargs)
        if name in ('aten::_to_copy', 'aten::copy_'):
            tensors = [
                leaf
                for leaf in tree_leaves((args, out))
                if isinstance(leaf, torch.Tensor)
            ]
            devices = {tensor.device.type for tensor in tensors}
            assert len(devices) == 1, f'a copy between {devices}'
        self.calls[name] += 1
        return out
