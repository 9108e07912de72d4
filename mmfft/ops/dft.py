# Copyright (c) mmfft authors. All rights reserved.
"""The two-dimensional real DFT written as matrix products.

The cost is O(n^1.5) instead of O(n log n), in products of small tables with
large matrices, which is what processors are best at. While a model is
exported the tables are made in the graph from the shape of the input, so
that it runs at any size, without a complex tensor or an FFT operator.

Spectra are real tensors ``(B, H, 2, W // 2 + 1, C)``, axis 2 holding real and
imaginary part: in this order every step below is one product on contiguous
memory and nothing is ever transposed.
"""

import math
from functools import lru_cache

import torch
from torch import Tensor

from .half_spectrum import Grid, column_weights, square_root, whole_numbers
from .paths import exporting


def _angles(rows: Tensor, columns: Tensor, size: int) -> Tensor:
    """``2 pi r c / size`` for whole numbers r and c, reduced to +-pi.

    The products of float32 are exact below 2^24, that is for sizes up to
    4096. A floating ``floor`` reduces them, since ONNX has no remainder by a
    symbolic size.
    """
    products = rows[:, None] * columns
    turns = torch.floor(products / size + 0.5)
    return (products - turns * size) * (2 * math.pi / size)


def _row_table(rows: int, like: Tensor) -> Tensor:
    """Complex DFT of the rows, ``(2H, 2H)`` on interleaved parts."""
    index = whole_numbers(rows, like)
    angles = _angles(index, index, rows)
    cos, sin = angles.cos(), angles.sin()
    table = torch.stack(
        (torch.stack((cos, sin), dim=2), torch.stack((-sin, cos), dim=2)),
        dim=1,
    )
    return table.reshape(2 * rows, 2 * rows) / square_root(rows, like)


def _column_table(columns: int, like: Tensor) -> Tensor:
    """Real DFT of the columns, ``(2, W // 2 + 1, W)``."""
    index = whole_numbers(columns, like)
    angles = _angles(index[: columns // 2 + 1], index, columns)
    table = torch.stack((angles.cos(), -angles.sin()))
    return table / square_root(columns, like)


def _tables(grid: Grid, like: Tensor) -> tuple[Tensor, ...]:
    """Tables of rows and columns, then those of the inverse.

    The transforms are orthonormal but for the columns that stand for two, so
    that the inverse tables are the transposed ones.
    """
    columns = _column_table(grid[1], like)
    weights = column_weights(grid[1], like)[:, None]
    rows = _row_table(grid[0], like)
    flat = (2 * (grid[1] // 2 + 1), grid[1])
    return (
        columns.reshape(flat),
        rows,
        rows.T,
        (columns * weights).reshape(flat).T,
    )


@lru_cache(maxsize=64)
def _kept_tables(
    grid: Grid, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, ...]:
    like = torch.empty(0, dtype=torch.float64)
    with torch.inference_mode(False), torch.no_grad():
        return tuple(
            table.to(device, dtype).contiguous()
            for table in _tables(grid, like)
        )


def _tables_for(grid: Grid, like: Tensor) -> tuple[Tensor, ...]:
    if exporting():
        return _tables(grid, like)
    return _kept_tables(grid, like.dtype, like.device)


def _apply(table: Tensor, x: Tensor, out: Tensor | None = None) -> Tensor:
    """``table @ x`` over the leading axes of x."""
    if exporting():
        return table @ x
    # The same as above, which would transpose x before and after.
    batch = x.shape[:-2]
    x = x.flatten(0, -3)
    y = torch.bmm(
        table.expand(len(x), -1, -1),
        x,
        out=None if out is None else out.flatten(0, -3),
    )
    return y.unflatten(0, batch)


def forward(x: Tensor) -> Tensor:
    """Orthonormal ``rfft2``: ``(B, H, W, C) -> (B, H, 2, W // 2 + 1, C)``."""
    batch, rows, columns, channels = x.shape
    half = columns // 2 + 1
    column_table, row_table, *_ = _tables_for((rows, columns), x)
    spectrum = _apply(column_table, x)
    spectrum = spectrum.reshape(batch, 2 * rows, half * channels)
    spectrum = _apply(row_table, spectrum)
    return spectrum.reshape(batch, rows, 2, half, channels)


def inverse(
    spectrum: Tensor, columns: int, out: Tensor | None = None
) -> Tensor:
    """Inverse of :func:`forward`; acts on the Hermitian part alone."""
    batch, rows, _, half, channels = spectrum.shape
    *_, row_table, column_table = _tables_for((rows, columns), spectrum)
    x = spectrum.reshape(batch, 2 * rows, half * channels)
    x = _apply(row_table, x).reshape(batch, rows, 2 * half, channels)
    return _apply(column_table, x, out)


def pack(filter: Tensor, grid: Grid) -> Tensor:
    """Filters ``(H, W // 2 + 1, K, 2)`` as a matrix ``(-1, K)``."""
    return filter.permute(0, 3, 1, 2).flatten(0, 2)


def unpack(matrix: Tensor, grid: Grid) -> Tensor:
    """Inverse of :func:`pack`."""
    return matrix.unflatten(0, (grid[0], 2, -1)).permute(0, 2, 3, 1)


def kernel(packed: Tensor, routing: Tensor | None, grid: Grid) -> Tensor:
    """Kernels as spectra; all images have the same without a routing."""
    if routing is None:
        flat = packed[None]
    elif exporting():
        flat = packed @ routing
    else:
        flat = torch.bmm(packed.expand(len(routing), -1, -1), routing)
    shape = (-1, grid[0], 2, grid[1] // 2 + 1, flat.shape[2])
    return flat.reshape(shape)


def flatten(spectrum: Tensor) -> Tensor:
    """Spectra as matrices whose rows are those of :func:`pack`."""
    return spectrum.flatten(1, 3)


def product(a: Tensor, b: Tensor, conjugate: bool = False) -> Tensor:
    """``a * b``, or ``conj(a) * b``."""
    (a, c), (b, d) = a.unbind(2), b.unbind(2)
    sign = 1 if conjugate else -1
    if exporting():
        return torch.stack((a * b + sign * (c * d), a * d - sign * (c * b)), 2)
    shape = (max(len(a), len(b)), len(a[0]), 2, *a.shape[2:])
    out = a.new_empty(shape)
    real, imag = out.unbind(2)
    torch.mul(a, b, out=real).addcmul_(c, d, value=sign)
    torch.mul(a, d, out=imag).addcmul_(c, b, value=-sign)
    return out


def parts(spectrum: Tensor) -> Tensor:
    """Spectra in the order that is documented above."""
    return spectrum


def from_parts(parts: Tensor, columns: int) -> Tensor:
    """Inverse of :func:`parts`."""
    return parts
