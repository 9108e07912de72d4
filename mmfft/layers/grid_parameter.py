# Copyright (c) mmfft authors. All rights reserved.
import torch
from torch import Tensor, nn

from ..ops.dispatch import is_eager, same_grid
from ..ops.spectrum import Grid, is_static
from .torchscript import fix_traced_size, refuse_script


class GridParameter(nn.Module):
    """A parameter that belongs to a grid and can be read on any other.

    A subclass defines how to :meth:`resize` it, and :meth:`guess_grid` for
    weights that come without a grid. It may :meth:`read` more than the
    resized weight. A state dict of another grid loads:
    its weight is resized to this module's grid.

    Args:
        grid (tuple[int, int]): ``(H, W)`` of the feature map that the
            parameter is stored for.
        weight (Tensor): Initial value.

    Raises:
        ConfigError: If the grid is empty.
    """

    __prepare_scriptable__ = refuse_script
    grid: Tensor

    def __init__(self, grid: Grid, weight: Tensor):
        super().__init__()
        self.size: Grid = (grid[0], grid[1])
        # The grid is saved with the weights, whose shape does not tell it:
        # eight columns of a half spectrum may mean a width of 14 or of 15.
        self.register_buffer('grid', torch.tensor(self.size))
        self.weight = nn.Parameter(weight)
        self._kept: tuple | None = None

    def __getstate__(self) -> dict:
        return {**self.__dict__, '_kept': None}

    def resize(self, weight: Tensor, old_grid: Grid, new_grid: Grid) -> Tensor:
        """``weight`` of ``old_grid`` on ``new_grid``."""
        raise NotImplementedError

    def guess_grid(self, weight: Tensor) -> Grid:
        """Grid of a weight from a checkpoint that does not tell it."""
        raise NotImplementedError

    def is_as_stored(self, grid: Grid) -> bool:
        """Whether an input of size ``grid`` takes the weight as it is."""
        return same_grid(grid, self.size)

    def read(self, weight: Tensor, grid: Grid) -> Tensor:
        """What an input of size ``grid`` takes, made of the weight."""
        return self.resize(weight, self.size, grid)

    def forward(self, grid: Grid) -> Tensor:
        """The parameter for an input of size ``grid``.

        Without gradients a resized parameter is kept until the grid or the
        parameter changes, so that evaluating images of one size resizes once.
        Any number of threads may call this at the same time.

        Args:
            grid (tuple[int, int]): ``(H, W)`` of the input.

        Returns:
            Tensor: The weight itself, or resized.
        """
        # Unpacked, as a size of torch.fx can be, which has no known length.
        rows, columns = grid
        rows = fix_traced_size('the height of a feature map', rows)
        columns = fix_traced_size('the width of a feature map', columns)
        grid, weight = (rows, columns), self.weight
        if not is_static(grid):
            # A symbol of an exported graph: the size comes at run time.
            return self.read(weight, grid)
        if self.is_as_stored(grid):
            return weight
        if (
            torch.is_grad_enabled()
            or not is_eager()
            # A weight made in inference mode has no version counter.
            or weight.is_inference()
        ):
            return self.read(weight, grid)
        return self._resize_once(weight, grid)

    def _resize_once(self, weight: Tensor, grid: Grid) -> Tensor:
        stream = None
        if weight.is_cuda:
            # A graph has to resize by itself: what is kept may be dropped.
            if torch.cuda.is_current_stream_capturing():
                return self.read(weight, grid)
            stream = torch.cuda.current_stream(weight.device).cuda_stream
        key = (
            grid,
            weight.data_ptr(),
            weight._version,
            weight.dtype,
            weight.stride(),
            stream,
        )
        # Read once and replaced as a whole, since other threads do so too.
        kept = self._kept
        if kept is None or kept[0] != key:
            # No inference tensor: it serves every mode.
            with torch.inference_mode(False), torch.no_grad():
                resized = self.read(weight, grid)
            # While the weight's memory is held, no other gets its address.
            kept = self._kept = (key, resized, weight.detach())
        return kept[1]

    def train(self, mode: bool = True) -> 'GridParameter':
        # Weight averaging swaps values through `.data`, which no version
        # counter sees; mmengine's loops call train() or eval() after it.
        self._kept = None
        return super().train(mode)

    @torch.no_grad()
    def store_for(self, grid: Grid) -> None:
        """Resize the weight for good, into a new parameter.

        Args:
            grid (tuple[int, int]): ``(H, W)`` that it is stored for from now
                on.
        """
        if grid == self.size:
            return
        weight = self.resize(self.weight, self.size, grid)
        self.weight = nn.Parameter(weight, self.weight.requires_grad)
        self.grid = self.grid.new_tensor(grid)
        self.size, self._kept = grid, None

    def incoming_grid(self, state_dict: dict, prefix: str) -> Grid | None:
        """Grid of the weight under ``prefix``, None where there is none."""
        weight = state_dict.get(f'{prefix}weight')
        if weight is None:
            return None
        grid = state_dict.get(f'{prefix}grid')
        if grid is None:
            return self.guess_grid(weight)
        rows, columns = map(int, grid)
        return rows, columns

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        weight_key = f'{prefix}weight'
        grid = self.incoming_grid(state_dict, prefix)
        incoming = {}
        if grid is not None:
            incoming[f'{prefix}grid'] = self.grid
            weight = state_dict[weight_key]
            # Another number of filters or channels is a mismatch to report.
            if grid != self.size and self.same_channels(weight):
                incoming[weight_key] = self.resize(weight, grid, self.size)
        # The caller's dictionary stays as it was.
        super()._load_from_state_dict(
            {**state_dict, **incoming}, prefix, *args, **kwargs
        )

    def same_channels(self, weight: Tensor) -> bool:
        raise NotImplementedError
