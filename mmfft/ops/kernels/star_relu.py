# Copyright (c) mmfft authors. All rights reserved.
"""StarReLU, ``scale * relu(x) ** 2 + bias``, in one pass over memory.

By PyTorch's operators it takes four passes forward and seven backward. Not
measured on a GPU yet, therefore chosen by no default (:mod:`..dispatch`).
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .launch import launch

# Two loads of 16 bytes a thread in half precision, four in float32.
_BLOCK = 2048
_NUM_WARPS = 4


@triton.jit
def _load(x, size, block: tl.constexpr):
    """Offsets of this program, which of them exist, and ``relu(x)``."""
    # More than 2^31 numbers are counted.
    index = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    inside = index < size
    value = tl.load(x + index, mask=inside, other=0.0).to(tl.float32)
    # NaN remains.
    return index, inside, tl.where(value < 0, 0.0, value)


@triton.jit
def _forward_kernel(y, x, scale, bias, size, block: tl.constexpr):
    index, inside, value = _load(x, size, block)
    factor = tl.load(scale).to(tl.float32)
    value = factor * value * value + tl.load(bias).to(tl.float32)
    tl.store(y + index, value.to(y.dtype.element_ty), mask=inside)


@triton.jit
def _backward_kernel(
    grad_x, sums, grad, x, scale, programs, size, block: tl.constexpr
):
    index, inside, value = _load(x, size, block)
    g = tl.load(grad + index, mask=inside, other=0.0).to(tl.float32)
    factor = 2 * tl.load(scale).to(tl.float32)
    result = factor * value * g
    tl.store(grad_x + index, result.to(grad_x.dtype.element_ty), mask=inside)
    program = tl.program_id(0)
    tl.store(sums + program, tl.sum(value * value * g, 0))
    tl.store(sums + programs + program, tl.sum(g, 0))


def _dense(x: Tensor) -> tuple[Tensor, Tensor]:
    """``x`` without gaps in memory, and an empty tensor laid out like it."""
    out = torch.empty_like(x)
    if out.stride() == x.stride():
        return x, out
    return torch.empty_like(x).copy_(x), out


def forward(x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """StarReLU of a map.

    Args:
        x (Tensor): Any shape, float32 or half precision.
        scale (Tensor): Shape ``(1,)``, floating point.
        bias (Tensor): Shape ``(1,)``, floating point.

    Returns:
        Tensor: Shape, dtype and, unless it has gaps, strides of ``x``.
    """
    x, y = _dense(x)
    size = x.numel()
    launch(
        _forward_kernel,
        triton.cdiv(size, _BLOCK),
        *(y, x, scale, bias, size),
        num_warps=_NUM_WARPS,
        block=_BLOCK,
    )
    return y


def backward(
    grad: Tensor, x: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, scale and bias, those of the scalars in float32.

    The same inputs always give the same bits.

    Args:
        grad (Tensor): Gradient of the result, of its shape and dtype.
        x (Tensor): Same as in :func:`forward`.
        scale (Tensor): Shape ``(1,)``, floating point.

    Returns:
        tuple[Tensor, Tensor, Tensor]: Gradients of the shape of ``x``, of
        ``(1,)`` and of ``(1,)``.
    """
    x, grad_x = _dense(x)
    if grad.stride() != x.stride():
        grad = torch.empty_like(x).copy_(grad)
    size = x.numel()
    programs = triton.cdiv(size, _BLOCK)
    sums = x.new_empty(2, programs, dtype=torch.float32)
    launch(
        _backward_kernel,
        programs,
        *(grad_x, sums, grad, x, scale, programs, size),
        num_warps=_NUM_WARPS,
        block=_BLOCK,
    )
    of_scale, of_bias = sums.sum(1).split(1)
    return grad_x, of_scale, of_bias
