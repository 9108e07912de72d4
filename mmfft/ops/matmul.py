# Copyright (c) mmfft authors. All rights reserved.
"""The two-dimensional real DFT as products of small tables with large maps.

A :class:`.Transform`. The cost is O(n^1.5) instead of O(n log n), in what
processors are best at, on contiguous memory and without transposing.

Rows h and -h of a map are first added and subtracted: cosines see only the
sums and sines the differences, which leaves a quarter of the products along
the rows. In the same way the rows k and -k of the spectrum are sum and
difference of the two halves. Spectra are real tensors
``(B, H, 2, W // 2 + 1, C)``, axis 2 holding real and imaginary part, their
rows in the order 0, 1, ..., H // 2, -1, -2, ...
"""

from functools import lru_cache

import torch
from torch import Tensor

from .dft_export import angles, column_table
from .precision import compute_dtype
from .spectrum import Grid, column_weights, square_root, whole_numbers

APPLE = 'mps'  # the device of Apple's GPUs


def _tables(
    grid: Grid, dtype: torch.dtype, device: torch.device
) -> dict[str, Tensor]:
    # On a GPU none is kept: the memory of what is made while a CUDA graph is
    # recorded belongs to the graph.
    make = _kept_tables if device.type == 'cpu' else _make_tables
    return make(grid, dtype, device)


def _make_tables(
    grid: Grid, dtype: torch.dtype, device: torch.device
) -> dict[str, Tensor]:
    rows, columns = grid
    # Apple's GPUs have no float64. Angles are reduced before they are rounded.
    exact = torch.float32 if device.type == APPLE else torch.float64
    like = torch.empty(0, dtype=exact, device=device)
    with torch.inference_mode(False), torch.no_grad():
        index = whole_numbers(rows // 2 + 1, like)
        row_angles = angles(index, index, rows)
        # As many sums as cosines, as many differences as sines.
        odd = slice(1, (rows - 1) // 2 + 1)
        cos, sin = column_table(columns, like)
        weights = column_weights(columns, like)[:, None]
        tables = dict(
            cos=row_angles.cos() / square_root(rows, like),
            sin=row_angles.sin()[odd, odd] / square_root(rows, like),
            # Sines come with a factor -i, which turns (re, im) to (im, -re).
            of_sums=torch.cat((cos, sin)),
            of_differences=torch.cat((sin, -cos)),
            to_sums=torch.cat((cos * weights, sin * weights)).T,
            to_differences=torch.cat((sin * weights, -cos * weights)).T,
        )
        return {
            name: table.to(dtype).contiguous()
            for name, table in tables.items()
        }


_kept_tables = lru_cache(maxsize=64)(_make_tables)


def _rows(size: int) -> tuple[slice, slice, slice]:
    """Rows of sums, of those with a mirror image, and of the mirror images."""
    return (
        slice(0, size // 2 + 1),
        slice(1, (size - 1) // 2 + 1),
        slice(size // 2 + 1, size),
    )


def _order(size: int, device: torch.device) -> Tensor:
    """Row of the transform that each row of the spectrum holds."""
    index = torch.arange(size, device=device)
    return torch.where(index <= size // 2, index, size // 2 - index) % size


def _apply(table: Tensor, x: Tensor) -> Tensor:
    """``table @ x``, which matmul would transpose before and after."""
    y = torch.bmm(table.expand(x.shape[:-2].numel(), -1, -1), x.flatten(0, -3))
    return y.unflatten(0, x.shape[:-2])


def forward(x: Tensor) -> Tensor:
    """Orthonormal ``rfft2``: ``(B, H, W, C) -> (B, H, 2, W // 2 + 1, C)``."""
    batch, rows, columns, channels = x.shape
    x = x.to(compute_dtype(x))
    tables = _tables((rows, columns), x.dtype, x.device)
    upper, paired, mirrored = _rows(rows)
    images = x[:, mirrored].flip(1)
    sums, differences = x[:, upper].clone(), x[:, paired] - images
    sums[:, paired] += images
    sums = _apply(tables['of_sums'], sums).flatten(2)
    differences = _apply(tables['of_differences'], differences).flatten(2)
    spectrum = x.new_empty(batch, rows, 2, columns // 2 + 1, channels)
    cosines = tables['cos'].expand(batch, -1, -1)
    out = spectrum[:, upper].flatten(2)
    if x.device.type == APPLE:
        # Products into memory with gaps were reported not to arrive there
        # (pytorch/pytorch#104832).
        out.copy_(torch.bmm(cosines, sums))
    else:
        torch.bmm(cosines, sums, out=out)
    sines = _apply(tables['sin'], differences)
    sines = sines.reshape(batch, -1, *spectrum.shape[2:])
    torch.sub(spectrum[:, paired], sines, out=spectrum[:, mirrored])
    spectrum[:, paired] += sines
    return spectrum


def inverse(
    spectrum: Tensor, columns: int, out: Tensor | None = None
) -> Tensor:
    """Inverse of :func:`forward`, of the Hermitian part only.

    Overwrites the spectrum.
    """
    batch, rows, _, half, channels = spectrum.shape
    tables = _tables((rows, columns), spectrum.dtype, spectrum.device)
    upper, paired, mirrored = _rows(rows)
    differences = spectrum[:, paired] - spectrum[:, mirrored]
    spectrum[:, paired] += spectrum[:, mirrored]
    cosines = _apply(tables['cos'], spectrum[:, upper].flatten(2))
    sines = _apply(tables['sin'], differences.flatten(2))
    shape = (batch, -1, 2 * half, channels)
    sums = _apply(tables['to_sums'], cosines.reshape(shape))
    differences = _apply(tables['to_differences'], sines.reshape(shape))
    x = out
    if x is None or x.dtype != spectrum.dtype:
        x = spectrum.new_empty(batch, rows, columns, channels)
    x[:, upper] = sums
    x[:, paired] += differences
    differences = sums[:, paired] - differences
    x[:, mirrored] = differences.flip(1)
    return x if out is None or out is x else out.copy_(x)


def pack(filter: Tensor, grid: Grid) -> Tensor:
    """Filters ``(H, W // 2 + 1, K, 2)`` as a matrix ``(-1, K)``."""
    filter = filter[_order(grid[0], filter.device)]
    return filter.permute(0, 3, 1, 2).flatten(0, 2)


def unpack(matrix: Tensor, grid: Grid) -> Tensor:
    """Gradient of filters from that of what :func:`pack` returns."""
    filter = matrix.unflatten(0, (grid[0], 2, -1)).permute(0, 2, 3, 1)
    return filter[_order(grid[0], filter.device).argsort()]


def _kernel(packed: Tensor, routing: Tensor | None, grid: Grid) -> Tensor:
    """Kernels as spectra; all images have the same without a routing."""
    flat = packed[None]
    if routing is not None:
        flat = torch.bmm(flat.expand(len(routing), -1, -1), routing)
    return flat.unflatten(1, (grid[0], 2, -1))


def _product(a: Tensor, b: Tensor, conjugate: bool = False) -> Tensor:
    """``a * b``, or ``conj(a) * b``."""
    out = torch.empty_like(a if len(a) >= len(b) else b)
    (a, c), (b, d), (real, imag) = (t.unbind(2) for t in (a, b, out))
    sign = 1 if conjugate else -1
    torch.mul(a, b, out=real).addcmul_(c, d, value=sign)
    torch.mul(a, d, out=imag).addcmul_(c, b, value=-sign)
    return out


def multiply(
    spectrum: Tensor, packed: Tensor, routing: Tensor | None, grid: Grid
) -> Tensor:
    """Spectra times their kernels."""
    return _product(spectrum, _kernel(packed, routing, grid))


def multiply_adjoint(
    spectrum: Tensor,
    grad: Tensor,
    packed: Tensor,
    routing: Tensor | None,
    grid: Grid,
) -> tuple[Tensor, Tensor]:
    """Gradients of spectra and, as matrices, of kernels."""
    grad_kernel = _product(spectrum, grad, conjugate=True)
    grad = _product(_kernel(packed, routing, grid), grad, conjugate=True)
    return grad, grad_kernel.flatten(1, 3)


def parts(spectrum: Tensor, columns: int) -> Tensor:
    """Spectra with their rows in FFT order."""
    return spectrum[:, _order(spectrum.shape[1], spectrum.device).argsort()]


def from_parts(parts: Tensor, columns: int) -> Tensor:
    """Inverse of :func:`parts`."""
    return parts[:, _order(parts.shape[1], parts.device)]
