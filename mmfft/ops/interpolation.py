# Copyright (c) mmfft authors. All rights reserved.
"""Bicubic and bilinear interpolation as matrix products.

On a CPU PyTorch's own bicubic operator takes 2 to 10 times as long for
hundreds of filters and 4 to 15 times backward, about as long for eight large
ones, and 0.2 ms less for eight small ones. onnxruntime's cubic ``Resize``
takes longer than all the rest of a GFNet. On a GPU the gradients of both
operators are not deterministic, and an error where that is asked for.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from .precision import without_autocast
from .spectrum import Grid, whole_numbers


def interpolate(
    x: Tensor, size: Grid, mode: str, align_corners: bool
) -> Tensor:
    """``F.interpolate`` over the first two axes.

    Args:
        x (Tensor): Shape ``(H, W, C)``, float32 or float64.
        size (tuple[int, int]): New size ``(H', W')``.
        mode (str): One of :data:`INTERPOLATIONS`.
        align_corners (bool): Same as in ``F.interpolate``.

    Returns:
        Tensor: Shape ``(H', W', C)``.
    """
    grid = (x.shape[0], x.shape[1])
    with without_autocast(x):
        matrices = interpolation_matrices(grid, size, mode, align_corners, x)
        return multiply_axes(matrices, x)


def interpolation_matrices(
    old_grid: Grid,
    new_grid: Grid,
    mode: str,
    align_corners: bool,
    like: Tensor,
) -> list[Tensor]:
    """Matrices ``(H', H)`` and ``(W', W)`` that interpolate.

    Args:
        old_grid (tuple[int, int]): ``(H, W)``.
        new_grid (tuple[int, int]): ``(H', W')``; may be symbols.
        mode (str): One of :data:`INTERPOLATIONS`.
        align_corners (bool): Same as in ``F.interpolate``.
        like (Tensor): Tensor of the dtype and device wanted.

    Returns:
        list[Tensor]: One matrix for each axis.
    """
    return [
        _weights(old, new, INTERPOLATIONS[mode], align_corners, like)
        for old, new in zip(old_grid, new_grid)
    ]


def multiply_axes(matrices: list[Tensor], x: Tensor) -> Tensor:
    """Multiply each of the first two axes by a matrix.

    Args:
        matrices (list[Tensor]): Matrices ``(H', H)`` and ``(W', W)``.
        x (Tensor): Shape ``(H, W, C)``.

    Returns:
        Tensor: Shape ``(H', W', C)``.
    """
    rows, columns = matrices
    y = rows @ x.flatten(1)
    return columns @ y.reshape(-1, *x.shape[1:])


def _keys(distance: Tensor) -> Tensor:
    """Keys' kernel with PyTorch's a = -0.75.

    See https://doi.org/10.1109/TASSP.1981.1163711.
    """
    a = -0.75
    near = ((a + 2) * distance - (a + 3)) * distance.square() + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return torch.where(distance <= 1, near, far)


class _Kernel(NamedTuple):
    taps: int  # in a row, half of them on either side
    weigh: Callable[[Tensor], Tensor]  # by the distances to the taps


INTERPOLATIONS = {
    'bicubic': _Kernel(4, _keys),
    'bilinear': _Kernel(2, lambda distance: 1 - distance),
}


def _weights(
    old: int, new: int, kernel: _Kernel, align_corners: bool, like: Tensor
) -> Tensor:
    """Matrix ``(new, old)`` of one axis; the new size may be a symbol.

    The edges are repeated.
    """
    target = whole_numbers(new, like)
    if align_corners:
        source = target * ((old - 1) / target[-1].clamp(min=1))
    else:
        source = (target + 0.5) * (old / (target[-1] + 1)) - 0.5
    first = source.floor()[:, None] - (kernel.taps // 2 - 1)
    taps = first + whole_numbers(kernel.taps, like)
    weights = kernel.weigh((source[:, None] - taps).abs())[:, :, None]
    taps = taps.clamp(0, old - 1)[:, :, None]
    return (weights * (taps == whole_numbers(old, like))).sum(1)
