# Copyright (c) mmfft authors. All rights reserved.
"""A residual with a factor per channel, ``x * scale + branch``, in one pass.

By PyTorch's operators it takes two passes forward and up to four backward. Not
measured on a GPU yet, therefore chosen by no default (:mod:`..dispatch`).
"""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from .launch import launch, num_parallel

# Two loads of 16 bytes a thread in float32, one in half precision.
_ROWS, _COLUMNS = tl.constexpr(16), tl.constexpr(64)
_NUM_WARPS = 4


@triton.jit
def _split(num_channels):
    """Part of the points and of how many, and channels, of this program."""
    blocks = tl.cdiv(num_channels, _COLUMNS)
    c = tl.program_id(0) % blocks * _COLUMNS + tl.arange(0, _COLUMNS)
    # More than 2^31 numbers are counted.
    part = (tl.program_id(0) // blocks).to(tl.int64)
    return part, tl.num_programs(0) // blocks, c


@triton.jit
def _tile(first, c, num_points, num_channels):
    """Offsets of a tile, and which of them exist."""
    point = first + tl.arange(0, _ROWS)
    inside = (point < num_points)[:, None] & (c < num_channels)[None, :]
    return point[:, None] * num_channels + c[None, :], inside


@triton.jit
def _load(x, at, inside):
    return tl.load(x + at, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def _store(x, at, inside, value):
    tl.store(x + at, value.to(x.dtype.element_ty), mask=inside)


@triton.jit
def _forward_kernel(y, x, branch, scale, num_points, num_channels):
    part, _, c = _split(num_channels)
    factor = _load(scale, c, c < num_channels)
    at, inside = _tile(part * _ROWS, c, num_points, num_channels)
    value = _load(x, at, inside) * factor[None, :]
    _store(y, at, inside, value + _load(branch, at, inside))


@triton.jit
def _backward_kernel(
    grad_x, grad_branch, sums, grad, x, scale, num_points, num_channels
):
    part, parts, c = _split(num_channels)
    factor = _load(scale, c, c < num_channels)
    total = tl.zeros((_ROWS, _COLUMNS), tl.float32)
    for first in range(part * _ROWS, num_points, parts * _ROWS):
        at, inside = _tile(first, c, num_points, num_channels)
        g = _load(grad, at, inside)
        total += g * _load(x, at, inside)
        _store(grad_x, at, inside, g * factor[None, :])
        if grad_branch is not None:
            _store(grad_branch, at, inside, g)
    at = part * num_channels + c
    _store(sums, at, c < num_channels, tl.sum(total, 0))


def _sizes(x: Tensor) -> tuple[int, int, int, int]:
    """Points and channels, and tiles along either."""
    points, channels = math.prod(x.shape[:-1]), x.shape[-1]
    rows = triton.cdiv(points, _ROWS.value)
    return points, channels, rows, triton.cdiv(channels, _COLUMNS.value)


def forward(x: Tensor, branch: Tensor, scale: Tensor) -> Tensor:
    """``x * scale + branch``.

    Args:
        x (Tensor): Shape ``(..., C)``, float32 or half precision.
        branch (Tensor): The same.
        scale (Tensor): Shape ``(C,)``.

    Returns:
        Tensor: Contiguous, of the dtype that PyTorch's promotion gives.
    """
    dtype = torch.promote_types(x.dtype, scale.dtype)
    dtype = torch.promote_types(dtype, branch.dtype)
    y = x.new_empty(x.shape, dtype=dtype)
    points, channels, rows, blocks = _sizes(x)
    launch(
        _forward_kernel,
        rows * blocks,
        *(y, x.contiguous(), branch.contiguous(), scale.contiguous()),
        *(points, channels),
        num_warps=_NUM_WARPS,
    )
    return y


def backward(
    grad: Tensor, x: Tensor, scale: Tensor, branch_dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, branch and scale, that of scale in float32.

    The same inputs always give the same bits.

    Args:
        grad (Tensor): Gradient of the result, of its shape and dtype.
        x (Tensor): Same as in :func:`forward`.
        scale (Tensor): Shape ``(C,)``.
        branch_dtype (torch.dtype): Dtype of the branch. If it is that of
            ``grad``, then ``grad`` is the branch's gradient, not a copy.

    Returns:
        tuple[Tensor, Tensor, Tensor]: Gradients of the shapes of the inputs.
    """
    points, channels, rows, blocks = _sizes(x)
    grad_x = x.new_empty(x.shape)
    grad_branch = None
    if branch_dtype != grad.dtype:
        grad_branch = x.new_empty(x.shape, dtype=branch_dtype)
    parts = min(rows, triton.cdiv(4 * num_parallel(x.device), blocks))
    sums = x.new_empty(parts, channels, dtype=torch.float32)
    launch(
        _backward_kernel,
        parts * blocks,
        *(grad_x, grad_branch, sums),
        *(grad.contiguous(), x.contiguous(), scale.contiguous()),
        *(points, channels),
        num_warps=_NUM_WARPS,
    )
    return grad_x, grad if grad_branch is None else grad_branch, sums.sum(0)
