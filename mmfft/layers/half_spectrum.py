# Copyright (c) mmfft authors. All rights reserved.
import torch
from torch import Tensor

from ..errors import require_one_of, require_size
from ..ops import FILTER_RESIZE_MODES, half_spectrum_shape, resize_filter
from ..ops.spectrum import Grid
from .grid_parameter import GridParameter

torch.fx.wrap('resize_filter')


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

    Raises:
        ConfigError: If the grid is not a size, or the mode is unknown.
    """

    def __init__(
        self,
        grid: int | Grid,
        num_filters: int,
        filter_resize: str = 'bicubic',
    ):
        grid = require_size('grid', grid)
        require_one_of('filter_resize', filter_resize, FILTER_RESIZE_MODES)
        shape = (*half_spectrum_shape(grid), num_filters, 2)
        super().__init__(grid, torch.randn(shape) * 0.02)
        self.filter_resize = filter_resize

    def extra_repr(self) -> str:
        return (
            f'grid={self.size}, num_filters={self.weight.shape[2]}, '
            f'filter_resize={self.filter_resize!r}'
        )

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
