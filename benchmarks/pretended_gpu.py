# Copyright (c) mmfft authors. All rights reserved.
"""An H100 that is not there: code for it runs, but computes nothing."""

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from importlib.util import find_spec
from types import SimpleNamespace
from unittest import mock

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from mmfft.ops import dispatch

# Of an H100.
MULTIPROCESSORS, CAPABILITY = 132, (9, 0)

# One for the whole process: what is cached for the GPU belongs to it.
_FAKE = FakeTensorMode()


@contextmanager
def pretended_gpu(
    start: Callable,
    multiprocessors: int = MULTIPROCESSORS,
    capability: tuple[int, int] = CAPABILITY,
) -> Iterator[None]:
    """Run the code within on tensors that have a shape, but no values.

    Args:
        start (Callable): Called for each kernel of Triton instead of starting
            it: with the ``triton.JITFunction``, the number of programs, and
            the arguments, by position and by keyword.
        multiprocessors (int): How many the GPU has. Defaults to those of an
            H100, like what follows.
        capability (tuple[int, int]): Its compute capability.
    """

    def run(kernel, *args, grid, warmup, **kwargs):
        start(kernel, math.prod(grid), *args, **kwargs)

    properties = SimpleNamespace(multi_processor_count=multiprocessors)
    with ExitStack() as stack:
        stack.enter_context(_FAKE)
        stack.enter_context(
            mock.patch.multiple(
                torch.cuda,
                device_of=lambda tensor: nullcontext(),
                get_device_properties=lambda device=None: properties,
            )
        )
        stack.enter_context(
            mock.patch.multiple(
                dispatch,
                _WITH_MEMORY=(FakeTensor,),
                _capability=lambda device: capability,
            )
        )
        if find_spec('triton'):
            from triton.runtime.jit import JITFunction

            stack.enter_context(mock.patch.object(JITFunction, 'run', run))
        yield


@contextmanager
def autocast(dtype: torch.dtype) -> Iterator[None]:
    """What ``torch.autocast('cuda', dtype)`` does, which asks for a GPU."""
    if dtype == torch.float32:
        yield
        return
    before = torch.get_autocast_dtype('cuda')
    torch.set_autocast_dtype('cuda', dtype)
    torch.set_autocast_enabled('cuda', True)
    torch.autocast_increment_nesting()
    try:
        yield
    finally:
        if not torch.autocast_decrement_nesting():
            torch.clear_autocast_cache()
        torch.set_autocast_enabled('cuda', False)
        torch.set_autocast_dtype('cuda', before)
