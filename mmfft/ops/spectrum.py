# Copyright (c) mmfft authors. All rights reserved.
"""The half spectrum of a real map: its shape, sizes and symmetry."""

from collections.abc import Sequence

import torch
from torch import Tensor

Grid = tuple[int, int]


def half_spectrum_shape(grid: Grid) -> tuple[int, int]:
    """Rows and columns of ``rfft2`` of a real map of size ``grid``."""
    return grid[0], grid[1] // 2 + 1


def is_static(sizes: Sequence[int]) -> bool:
    """Whether sizes are known, none a symbol of an exported graph."""
    return all(isinstance(n, int) for n in sizes)


def whole_numbers(count: int, like: Tensor) -> Tensor:
    """0, 1, ... in dtype and on the device of ``like``."""
    return torch.arange(count, device=like.device).to(like.dtype)


def square_root(size: int, like: Tensor) -> Tensor:
    """Root of a size, which may be a symbol: ONNX has no root of those."""
    return (whole_numbers(size, like)[-1] + 1).sqrt()


def column_weights(columns: int, like: Tensor) -> Tensor:
    """How often each column of the half spectrum occurs in the whole one.

    Args:
        columns (int): Width ``W`` of the map.
        like (Tensor): Tensor of the dtype and device wanted.

    Returns:
        Tensor: Ones and twos of shape ``(W // 2 + 1,)``.
    """
    index = whole_numbers(columns // 2 + 1, like)
    # For coremltools, which does not know `|`.
    once = torch.logical_or(index == 0, 2 * index == columns)
    return 2.0 - once.to(like.dtype)


def project_hermitian(filter: Tensor, grid: Grid) -> Tensor:
    """Drop the part of a half spectrum that no real kernel can have.

    The first column of a half spectrum, and for an even width the last one,
    hold each frequency together with its negative. Unless those entries are
    conjugates of each other the inverse real transform is not defined, and
    libraries disagree on it. The projection keeps what the CPU transform
    keeps.

    Args:
        filter (Tensor): Half spectrum of shape ``(H, W // 2 + 1, ..., 2)``.
        grid (tuple[int, int]): ``(H, W)``.

    Returns:
        Tensor: The Hermitian half spectrum, same shape.

    Raises:
        ValueError: If ``filter`` does not lie on ``grid``.
    """
    known = is_static(grid) and is_static(filter.shape)
    if known and filter.shape[:2] != half_spectrum_shape(grid):
        raise ValueError(
            f'filter of shape {tuple(filter.shape)} does not lie on the grid '
            f'{tuple(grid)}, whose half spectrum is '
            f'{half_spectrum_shape(grid)}'
        )
    signs = 1 - 2 * whole_numbers(2, filter)
    mirrored = filter.flip(0).roll(1, 0) * signs
    once = column_weights(grid[1], filter) == 1
    once = once.reshape(-1, *[1] * (filter.dim() - 2))
    return torch.where(once, (filter + mirrored) / 2, filter)
