# Copyright (c) mmfft authors. All rights reserved.
"""A filter learned on one grid, used on another."""

import math
from typing import Sequence  # noqa: UP035, for PyTorch before 2.7

import torch
from torch import Tensor

from ..errors import require_one_of
from .dispatch import (
    is_backward_differentiated,
    same_grid,
    takes_plain_operators,
)
from .interpolation import (
    INTERPOLATIONS,
    interpolation_matrices,
    multiply_axes,
)
from .precision import compute_dtype, without_autocast
from .spectral import irfft2, require_real, rfft2
from .spectrum import (
    Grid,
    column_weights,
    half_spectrum_shape,
    is_static,
    project_hermitian,
    square_root,
    whole_numbers,
)

FILTER_RESIZE_MODES = (*INTERPOLATIONS, 'kernel', 'spectrum')


def resize_filter(
    filter: Tensor, old_grid: Grid, new_grid: Grid, mode: str = 'bicubic'
) -> Tensor:
    """Resample a half spectrum to the grid of another image size.

    ``bicubic`` interpolates the half spectrum as it is stored, real and
    imaginary part apart, corners aligned: the published rule of `GFNet
    <https://github.com/raoyongming/GFNet>`_ (fine-tuning) and `DFFormer
    <https://github.com/okojoalg/dfformer>`_ (dense prediction). Zero
    frequency, hence the mean of the features, is kept exactly. Negative
    vertical frequencies are read half a bin or more off, so that isotropic
    filters come out skewed, most of all on small grids. The result is not
    Hermitian and resizing it again continues from that, as published.

    ``bilinear`` is the same with linear interpolation: the published rule of
    `HorNet <https://github.com/raoyongming/HorNet>`_, by the authors of
    GFNet. It is applied there when weights are loaded (``main.py``,
    ``mmcv_custom/checkpoint.py``) and in each forward pass on another grid
    (``hornet.py``), for detection and segmentation as well.

    ``kernel`` keeps the spatial kernel, tap by tap in pixels: zero-padded on
    a larger grid, cropped around its centre on a smaller one. Gain and
    symmetry are kept exactly when the grid grows, lost with the taps that a
    smaller grid cannot hold. The tap halfway round an even grid belongs to
    both sides and is split between them, and folded back on the way down, so
    that growing and shrinking again is exact.

    ``spectrum`` keeps the harmonics of the image: bins of equal cycles per
    image are copied, those that the old grid did not have are zero. It
    commutes with band-limited enlarging of the image; the kernel is
    stretched with it and energy above the old band is removed. On a smaller
    grid the harmonics above its band are lost.

    ``kernel`` and ``spectrum`` return Hermitian filters.

    Args:
        filter (Tensor): Shape ``(H, W // 2 + 1, ..., 2)``.
        old_grid (tuple[int, int]): ``(H, W)`` of ``filter``; the width cannot
            be told from the half spectrum.
        new_grid (tuple[int, int]): ``(H', W')`` of the result.
        mode (str): One of ``'bicubic'``, ``'bilinear'``, ``'kernel'``,
            ``'spectrum'``. Defaults to ``'bicubic'``.

    Returns:
        Tensor: Shape ``(H', W' // 2 + 1, ..., 2)``, dtype of ``filter``;
        ``filter`` itself where the grids are equal.

    Raises:
        TypeError: If ``filter`` is not a floating-point tensor.
        ValueError: If a grid is not two positive numbers, ``filter`` does not
            lie on ``old_grid``, or ``mode`` is unknown.
    """
    require_one_of('mode', mode, FILTER_RESIZE_MODES)
    require_real('filter', filter)
    for name, grid in (('old_grid', old_grid), ('new_grid', new_grid)):
        _check_grid(name, grid)
    if filter.dim() < 3 or filter.shape[-1] != 2 or 0 in filter.shape[2:]:
        raise ValueError(
            'filter must have shape (H, W // 2 + 1, ..., 2), got '
            f'{tuple(filter.shape)}'
        )
    if filter.shape[:2] != half_spectrum_shape(old_grid):
        raise ValueError(
            f'filter of shape {tuple(filter.shape)} does not lie on the grid '
            f'{tuple(old_grid)}, whose half spectrum is '
            f'{half_spectrum_shape(old_grid)}'
        )
    if same_grid(old_grid, new_grid):
        return filter
    resize = _resize if takes_plain_operators() else _resize_operator
    with without_autocast(filter):
        return resize(filter, old_grid, new_grid, mode)


def _check_grid(name: str, grid: Grid) -> None:
    # A size may be a symbol, of which nothing is known.
    if (
        not isinstance(grid, (list, tuple))
        or len(grid) != 2
        or any(isinstance(n, (bool, float, str)) for n in grid)
        or any(isinstance(n, int) and n < 1 for n in grid)
    ):
        raise ValueError(
            f'{name} must be (height, width), at least one row and one '
            f'column, got {grid!r}'
        )


def _resize(
    filter: Tensor, old_grid: Grid, new_grid: Grid, mode: str
) -> Tensor:
    planes = filter.to(compute_dtype(filter)).flatten(2, -2)
    if mode in INTERPOLATIONS:
        matrices = _interpolation_matrices(old_grid, new_grid, mode, planes)
        planes = multiply_axes(matrices, planes.flatten(2))
    elif mode == 'kernel':
        matrices = _kernel_matrices(old_grid, new_grid, planes)
        planes = _through_space(planes, old_grid, matrices)
    else:
        matrices = _spectrum_matrices(old_grid, new_grid, planes)
        planes = _through_harmonics(planes, old_grid, new_grid, matrices)
    shape = (*half_spectrum_shape(new_grid), *filter.shape[2:])
    return planes.reshape(shape).to(filter.dtype)


def _resize_adjoint(
    grad: Tensor, old_grid: Grid, new_grid: Grid, mode: str
) -> Tensor:
    """Gradient on ``old_grid``, from the one on ``new_grid``."""
    planes = grad.to(compute_dtype(grad)).flatten(2, -2)
    old_shape = half_spectrum_shape(old_grid)
    if mode in INTERPOLATIONS:
        matrices = _interpolation_matrices(old_grid, new_grid, mode, planes)
        planes = multiply_axes([m.T for m in matrices], planes.flatten(2))
    elif mode == 'kernel':
        matrices = _kernel_matrices(old_grid, new_grid, planes)
        # The adjoint of a transform is its inverse, but for these weights.
        weights = column_weights(new_grid[1], planes)[:, None, None]
        planes = _through_space(
            planes / weights, new_grid, [m.T for m in matrices]
        )
        planes = planes * column_weights(old_grid[1], planes)[:, None, None]
    else:
        matrices = _spectrum_matrices(old_grid, new_grid, planes)
        planes = _through_harmonics(
            planes, new_grid, old_grid, [m.T for m in matrices]
        )
    return planes.reshape(*old_shape, *grad.shape[2:]).to(grad.dtype)


@torch.library.custom_op('mmfft::resize_filter', mutates_args=())
def _resize_operator(
    filter: Tensor,
    old_grid: Sequence[int],
    new_grid: Sequence[int],
    mode: str,
) -> Tensor:
    grids = _pair(old_grid), _pair(new_grid)
    return _resize(filter, *grids, mode).contiguous()


@torch.library.custom_op('mmfft::resize_filter_backward', mutates_args=())
def _resize_backward(
    grad: Tensor, old_grid: Sequence[int], new_grid: Sequence[int], mode: str
) -> Tensor:
    grids = _pair(old_grid), _pair(new_grid)
    return _resize_adjoint(grad, *grids, mode).contiguous()


def _pair(grid: Sequence[int]) -> Grid:
    return grid[0], grid[1]


def _backward(ctx, grad):
    plain = is_backward_differentiated()
    adjoint = _resize_adjoint if plain else _resize_backward
    with without_autocast(grad):
        grad = adjoint(grad, ctx.old_grid, ctx.new_grid, ctx.mode)
    return grad, None, None, None


@_resize_operator.register_fake
def _(filter, old_grid, new_grid, mode):
    shape = (*half_spectrum_shape(new_grid), *filter.shape[2:])
    return filter.new_empty(shape)


@_resize_backward.register_fake
def _(grad, old_grid, new_grid, mode):
    return grad.new_empty(*half_spectrum_shape(old_grid), *grad.shape[2:])


def _save_grids(ctx, inputs, output):
    _, ctx.old_grid, ctx.new_grid, ctx.mode = inputs


_resize_operator.register_autograd(_backward, setup_context=_save_grids)


def _interpolation_matrices(
    old_grid: Grid, new_grid: Grid, mode: str, like: Tensor
) -> list[Tensor]:
    old_shape = half_spectrum_shape(old_grid)
    new_shape = half_spectrum_shape(new_grid)
    return interpolation_matrices(old_shape, new_shape, mode, True, like)


def _kernel_matrices(
    old_grid: Grid, new_grid: Grid, like: Tensor
) -> list[Tensor]:
    # The transforms are orthonormal; this keeps the gain.
    return [
        _taps(old, new, like)
        * square_root(new, like)
        / (math.sqrt(old) if is_static((old,)) else square_root(old, like))
        for old, new in zip(old_grid, new_grid)
    ]


def _through_space(
    planes: Tensor, grid: Grid, matrices: list[Tensor]
) -> Tensor:
    real, imag = planes[None].unbind(-1)
    kernel = irfft2(real, imag, grid[1])[0]
    kernel = multiply_axes(matrices, kernel)
    return torch.stack(rfft2(kernel[None]), dim=-1)[0]


def _spectrum_matrices(
    old_grid: Grid, new_grid: Grid, like: Tensor
) -> list[Tensor]:
    new, old = (
        whole_numbers(half_spectrum_shape(grid)[1], like)
        for grid in (new_grid, old_grid)
    )
    return [
        # Gains are to harmonics what sums are to taps.
        _taps(new_grid[0], old_grid[0], like).T,
        (new[:, None] == old).to(like.dtype),
    ]


def _through_harmonics(
    planes: Tensor, grid: Grid, to_grid: Grid, matrices: list[Tensor]
) -> Tensor:
    planes = project_hermitian(planes, grid)
    planes = multiply_axes(matrices, planes.flatten(2))
    planes = planes.reshape(*planes.shape[:2], -1, 2)
    # Halfway round a smaller grid two harmonics meet; this is their mean.
    return project_hermitian(planes, to_grid)


def _taps(old: int, new: int, like: Tensor) -> Tensor:
    """Matrix ``(new, old)`` between two axes of taps, in FFT order.

    What both axes hold, counted from the centre, is carried over. The index
    halfway round an even axis stands for both signs: such a tap is shared
    out when the axis grows and collected when it shrinks. Written without a
    branch, since the new size may be a symbol.
    """

    def signs(size: int) -> tuple[Tensor, Tensor, Tensor]:
        index = whole_numbers(size, like)
        high = torch.where(2 * index <= size, index, index - size)
        low = torch.where(2 * index < size, index, index - size)
        return high, low, high != low

    high, low, both = signs(new)
    old_high, old_low, old_both = signs(old)
    matches = (high[:, None] == old_high).to(like.dtype)
    matches = matches + (low[:, None] == old_low).to(like.dtype)
    collected = (both[:, None] & ~old_both).to(like.dtype)
    return matches * (1 + collected) / 2
