# Copyright (c) mmfft authors. All rights reserved.
"""The dtype that transforms compute in."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def compute_dtype(x: Tensor) -> torch.dtype:
    """Float64 where ``x`` has it, float32 for every other dtype.

    cuFFT knows float16 for powers of two only, and no FFT library knows
    bfloat16.
    """
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def without_autocast(x: Tensor) -> AbstractContextManager:
    """Switch autocast off; adds nothing to a graph that has none."""
    # The meta device, on which nothing is computed, knows no autocast.
    if x.device.type != 'meta' and torch.is_autocast_enabled(x.device.type):
        return torch.autocast(x.device.type, enabled=False)
    return nullcontext()
