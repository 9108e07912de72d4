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


def operand_precision(dtype: torch.dtype) -> str:
    """What a kernel on a GPU may make of the factors of its products.

    Float32 follows PyTorch's setting for products of matrices, by whichever
    of its names it was made (``torch.set_float32_matmul_precision`` or
    ``torch.backends.cuda.matmul.fp32_precision``). By default each product is
    one of two parts in TF32 each, which is as exact as float32 is; ``'high'``
    takes TF32 and ``'medium'`` bfloat16. A map in half precision has fewer
    digits than TF32, which is then the most that is used.

    Args:
        dtype (torch.dtype): Dtype of the map.

    Returns:
        str: ``'tf32x3'``, ``'tf32'`` or ``'bf16'``.
    """
    operands = _matmul_precision()
    if operands == 'tf32x3' and dtype != torch.float32:
        return 'tf32'
    return operands


def _matmul_precision() -> str:
    # PyTorch 2.9 brought new names. It raises where the old one is read after
    # only the new one was set.
    new = getattr(torch.backends.cuda.matmul, 'fp32_precision', 'none')
    if new == 'ieee':
        return 'tf32x3'
    try:
        old = torch.get_float32_matmul_precision()
    except RuntimeError:
        return 'tf32'
    return dict(highest='tf32x3', high='tf32', medium='bf16')[old]
