# Copyright (c) mmfft authors. All rights reserved.
"""What a filter sees beyond the border of a map.

A filter in the frequency domain is circular. For another boundary the map is
extended, filtered circularly by the same taps, and cropped.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import ConfigError
from .spectrum import Grid

BOUNDARIES = ('circular', 'zero', 'reflect')


def boundary_of_axes(boundary: str | tuple[str, str]) -> tuple[str, str]:
    """Boundary of either axis.

    Args:
        boundary (str | tuple[str, str]): One of ``mmfft.ops.BOUNDARIES``, or
            ``(height, width)`` of them.

    Returns:
        tuple[str, str]: That of the height and that of the width.

    Raises:
        ConfigError: If it is something else.
    """
    axes = (boundary,) * 2 if isinstance(boundary, str) else boundary
    if (
        not isinstance(axes, (list, tuple))
        or len(axes) != 2
        or not all(axis in BOUNDARIES for axis in axes)
    ):
        raise ConfigError(
            f'boundary must be one of {BOUNDARIES} or (height, width) of '
            f'them, got {boundary!r}'
        )
    return axes[0], axes[1]


def is_circular(boundary: str | tuple[str, str]) -> bool:
    """Whether both axes are circular, for which nothing is extended."""
    return boundary_of_axes(boundary) == ('circular', 'circular')


def extended_grid(grid: Grid, boundary: str | tuple[str, str]) -> Grid:
    """Size of a map after :func:`extend`.

    Args:
        grid (tuple[int, int]): ``(H, W)`` of the map.
        boundary (str | tuple[str, str]): See :func:`extend`.

    Returns:
        tuple[int, int]: ``(H', W')``.

    Raises:
        ConfigError: If the boundary is unknown.
    """
    rows, columns = (
        _extended_size(size, axis)
        for size, axis in zip(grid, boundary_of_axes(boundary))
    )
    return rows, columns


def _extended_size(size: int, boundary: str) -> int:
    if boundary == 'zero':
        return size + size // 2
    if boundary == 'reflect':
        # At least 1, without a branch: the size may be a symbol.
        return 2 * size - 2 + 1 // size
    return size


def extend(x: Tensor, boundary: str | tuple[str, str]) -> Tensor:
    """Extend a map, so that circular filtering sees another boundary.

    A filter whose taps reach at most half of the map, as
    :func:`mmfft.ops.resize_filter` brings it to :func:`extended_grid` in mode
    ``'kernel'``, does not get around the extended map to the other side of
    the original one. Cropped, its output is

    - for ``'circular'``, that of the periodically continued map: nothing is
      extended;
    - for ``'zero'``, that of the map among zeros: N points are followed by
      N // 2 zeros;
    - for ``'reflect'``, that of the map between mirrors, which stand on the
      outermost points, as in :func:`torch.nn.functional.pad`: N points are
      followed by the inner N - 2 in the opposite order.

    Args:
        x (Tensor): Shape ``(B, H, W, C)``.
        boundary (str | tuple[str, str]): One of ``mmfft.ops.BOUNDARIES``, or
            ``(height, width)`` of them.

    Returns:
        Tensor: Shape ``(B, H', W', C)``; ``x`` itself where both axes are
        circular.

    Raises:
        ConfigError: If the boundary is unknown.
    """
    rows, columns = boundary_of_axes(boundary)
    # Rows last, which are copied as a whole.
    for dim, axis in ((2, columns), (1, rows)):
        if axis == 'reflect':
            x = x.index_select(dim, _to_and_fro(x.shape[dim], x.device))
    if 'zero' in (rows, columns):
        after = [
            size // 2 if axis == 'zero' else 0
            for size, axis in zip(x.shape[1:3], (rows, columns))
        ]
        x = F.pad(x, (0, 0, 0, after[1], 0, after[0]))
    return x


def _to_and_fro(size: int, device: torch.device) -> Tensor:
    # Not by slices, which exported graphs take only of a size that they know
    # to be positive.
    period = _extended_size(size, 'reflect')
    index = torch.arange(period, device=device)
    return torch.minimum(index, period - index)


def crop(x: Tensor, grid: Grid) -> Tensor:
    """The first rows and columns of a map, as the next layer reads them.

    Args:
        x (Tensor): Shape ``(B, H', W', C)``.
        grid (tuple[int, int]): ``(H, W)`` of the result.

    Returns:
        Tensor: Shape ``(B, H, W, C)``, contiguous.
    """
    rows, columns = grid
    return x[:, :rows, :columns].contiguous()
