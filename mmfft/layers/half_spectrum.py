# Copyright (c) mmfft authors. All rights reserved.
from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import require_one_of, require_size
from ..ops import (
    FILTER_RESIZE_MODES,
    extend,
    extended_grid,
    half_spectrum_shape,
    resize_filter,
)
from ..ops.boundary import boundary_of_axes, crop, is_circular
from ..ops.spectrum import Grid
from .grid_parameter import GridParameter

torch.fx.wrap('resize_filter')
torch.fx.wrap('extend')
torch.fx.wrap('extended_grid')
torch.fx.wrap('crop')


class HalfSpectrum(GridParameter):
    """Learned filters on a grid, read on any grid.

    ``weight`` is real, of shape ``(H, W // 2 + 1, num_filters, 2)``: complex
    parameters fail in NCCL, in many optimizers and in export.

    Args:
        grid (int | tuple[int, int]): ``(H, W)`` of the feature map that the
            filters are stored for; one number for a square.
        num_filters (int): Number of filters.
        filter_resize (str): Mode of :func:`mmfft.ops.resize_filter` for other
            grids, at load and at forward. Defaults to ``'bicubic'``.
        boundary (str | tuple[str, str]): What the filters see beyond the
            border of a map, on both axes or ``(height, width)``:
            ``'circular'``, the opposite side, ``'zero'``, nothing, or
            ``'reflect'``, its mirror image. See :func:`mmfft.ops.extend`.
            Defaults to ``'circular'``, as published.

    Raises:
        ConfigError: If the grid is not a size, or the mode or the boundary is
            unknown.
    """

    def __init__(
        self,
        grid: int | Grid,
        num_filters: int,
        filter_resize: str = 'bicubic',
        boundary: str | tuple[str, str] = 'circular',
    ):
        grid = require_size('grid', grid)
        require_one_of('filter_resize', filter_resize, FILTER_RESIZE_MODES)
        self.boundary = boundary_of_axes(boundary)
        shape = (*half_spectrum_shape(grid), num_filters, 2)
        super().__init__(grid, torch.randn(shape) * 0.02)
        self.filter_resize = filter_resize

    def extra_repr(self) -> str:
        return (
            f'grid={self.size}, num_filters={self.weight.shape[2]}, '
            f'filter_resize={self.filter_resize!r}, boundary={self.boundary}'
        )

    def filter_map(
        self, x: Tensor, filter: Callable[[Tensor, Tensor], Tensor]
    ) -> Tensor:
        """Filter a map, with its boundary.

        Args:
            x (Tensor): Shape ``(B, H, W, C)``.
            filter (Callable): Filters a map circularly, by these filters on
                the map's grid.

        Returns:
            Tensor: Shape ``(B, H, W, C)``.
        """
        grid = (x.shape[1], x.shape[2])
        filters = self(grid)
        if is_circular(self.boundary):
            return filter(x, filters)
        return crop(filter(extend(x, self.boundary), filters), grid)

    def is_as_stored(self, grid: Grid) -> bool:
        return super().is_as_stored(grid) and is_circular(self.boundary)

    def read(self, weight: Tensor, grid: Grid) -> Tensor:
        """The filters on the grid of a map that :func:`.extend` extended."""
        filters = super().read(weight, grid)
        if is_circular(self.boundary):
            return filters
        # Tap by tap, however they came to the grid.
        extended = extended_grid(grid, self.boundary)
        return resize_filter(filters, grid, extended, 'kernel')

    def resize(self, weight: Tensor, old_grid: Grid, new_grid: Grid) -> Tensor:
        return resize_filter(weight, old_grid, new_grid, self.filter_resize)

    def guess_grid(self, weight: Tensor) -> Grid:
        # Square where the shape allows it, as every published checkpoint is.
        rows, columns = weight.shape[:2]
        if half_spectrum_shape((rows, rows)) == (rows, columns):
            return rows, rows
        return rows, max(1, 2 * (columns - 1))

    def same_channels(self, weight: Tensor) -> bool:
        return weight.shape[2:] == self.weight.shape[2:]
