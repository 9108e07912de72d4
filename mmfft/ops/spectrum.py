# Copyright (c) mmfft authors. All rights reserved.
"""The half spectrum of a real map: its shape, sizes and symmetry."""

from collections.abc import Sequence

import torch
from torch import Tensor

Grid = tuple[int, int]
# Earlier compilers have to know every size that is compared.
_KNOWS_GUARDS = torch.__version__ >= '2.7'


def guard_or_false(condition: bool | torch.SymBool) -> bool:
    """Whether a condition, maybe of symbols, is known to hold."""
    # For the compiler a symbol is a bool, too.
    if isinstance(condition, bool) and not torch.compiler.is_compiling():
        return condition
    if not _KNOWS_GUARDS:
        # Not `bool`, which its compiler does not know for symbols.
        return True if condition else False
    # It imports sympy, which takes a second, unless there are symbols already.
    from torch.fx.experimental import symbolic_shapes

    return symbolic_shapes.guard_or_false(condition)


def half_spectrum_shape(grid: Grid) -> tuple[int, int]:
    """Rows and columns of ``rfft2`` of a real map of size ``grid``."""
    return grid[0], grid[1] // 2 + 1


def is_static(sizes: Sequence[int]) -> bool:
    """Whether sizes are known, none a symbol of an exported graph."""
    return all(isinstance(n, int) for n in sizes)


def same_grid(a: Grid, b: Grid) -> bool:
    """Whether two grids are known to be equal.

    The symbols of an exported graph, or of one that is compiled for any
    size, are equal to no number.
    """
    if not (is_static(a) and is_static(b)):
        return False
    return guard_or_false(a[0] == b[0]) and guard_or_false(a[1] == b[1])


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
    once = (index == 0) | (2 * index == columns)
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
