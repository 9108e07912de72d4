# Copyright (c) mmfft authors. All rights reserved.
"""A filter learned on one grid, used on another."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .spectral import Grid, half_spectrum_shape

FILTER_RESIZE_MODES = ('bicubic', 'kernel', 'spectrum')


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

    ``kernel`` keeps the spatial kernel, tap by tap in pixels: zero-padded on
    a larger grid, cropped around its centre on a smaller one. Gain and
    symmetry are kept exactly when the grid grows, lost with the taps that a
    smaller grid cannot hold. The tap half way round an even grid belongs to
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
        new_grid (tuple[int, int]): ``(H, W)`` wanted.
        mode (str): One of ``'bicubic'``, ``'kernel'``, ``'spectrum'``.
            Defaults to ``'bicubic'``.

    Returns:
        Tensor: Shape ``(H', W' // 2 + 1, ..., 2)``, dtype of ``filter``. The
        filter itself where the grids are equal.

    Raises:
        ValueError: If a grid is empty, ``filter`` does not lie on
            ``old_grid``, or ``mode`` is unknown.
    """
    if mode not in FILTER_RESIZE_MODES:
        raise ValueError(
            f'mode must be one of {FILTER_RESIZE_MODES}, got {mode!r}'
        )
    if min(*old_grid, *new_grid) < 1:
        raise ValueError(
            'grids must have at least one row and one column, '
            f'got {old_grid} and {new_grid}'
        )
    if filter.shape[:2] != half_spectrum_shape(old_grid):
        raise ValueError(
            f'filter of shape {tuple(filter.shape)} does not lie on the grid '
            f'{tuple(old_grid)}, whose half spectrum is '
            f'{half_spectrum_shape(old_grid)}'
        )
    if tuple(old_grid) == tuple(new_grid):
        return filter
    dtype = torch.promote_types(filter.dtype, torch.float32)
    resize = _resize_bicubic if mode == 'bicubic' else _resize_exact
    return resize(filter.to(dtype), old_grid, new_grid, mode).to(filter.dtype)


def _resize_bicubic(
    filter: Tensor, old_grid: Grid, new_grid: Grid, mode: str
) -> Tensor:
    new_shape = half_spectrum_shape(new_grid)
    if filter.shape[:2] == new_shape:
        return filter
    planes = filter.flatten(2).permute(2, 0, 1)[None]
    planes = F.interpolate(
        planes, size=new_shape, mode=mode, align_corners=True
    )
    return planes[0].permute(1, 2, 0).reshape(*new_shape, *filter.shape[2:])


def _resize_exact(
    filter: Tensor, old_grid: Grid, new_grid: Grid, mode: str
) -> Tensor:
    half = torch.view_as_complex(filter.contiguous())
    full = torch.fft.irfft2(half, s=old_grid, dim=(0, 1))
    if mode == 'spectrum':
        full = torch.fft.fft2(full, dim=(0, 1))
    for axis in (0, 1):
        embedding = _embedding(old_grid[axis], new_grid[axis], mode).to(full)
        full = torch.movedim(
            torch.tensordot(embedding, full, dims=([1], [axis])), 0, axis
        )
    if mode == 'kernel':
        half = torch.fft.rfft2(full.movedim((0, 1), (-2, -1))).movedim(
            (-2, -1), (0, 1)
        )
    else:
        half = full[:, : new_grid[1] // 2 + 1]
    return torch.view_as_real(half.contiguous())


def _embedding(old: int, new: int, mode: str) -> Tensor:
    """Matrix ``(new, old)`` between two axes in FFT order.

    What both axes hold, counted from the centre, is carried over. The index
    half way round the smaller axis, when that is even, stands for both signs:
    a tap there is shared out (growing) or collected (shrinking); a harmonic
    has the same gain at both signs, which is copied or averaged.
    """
    small = min(old, new)
    matrix = torch.zeros(new, old)
    inner = torch.arange(-((small - 1) // 2), (small - 1) // 2 + 1)
    matrix[inner % new, inner % old] = 1
    if small % 2 == 0:
        edge = torch.tensor([small // 2, -(small // 2)])
        if old == new:
            weight = 1.0
        else:
            weight = 0.5 if (mode == 'kernel') == (new > old) else 1.0
        matrix[edge % new, edge % old] = weight
    return matrix
