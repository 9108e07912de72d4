# Copyright (c) mmfft authors. All rights reserved.
"""The whole dynamic filter as one kernel, by Triton, for grids up to 32.

A program holds the map of some channels of one image: x is read once, y
written once, and spectra and filters exist in registers only. The backward
kernel computes everything again from x and dy in the same way. Transforms are
matrix products as in :mod:`.matmul`, without its symmetries: columns first,
which leaves half of them, then rows, with tables whose sizes are padded to
powers of two. Beyond 32 a map of one channel is already more than the
registers hold: compiled for an H100, 64x64 spills 2 to 12 KiB per thread.

Not measured on a GPU yet, therefore chosen by no default (:mod:`.dispatch`).
On a CPU it runs in Triton's interpreter, to be tested.
"""

from functools import lru_cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from .dft_export import angles, column_table
from .spectrum import Grid, column_weights, square_root, whole_numbers

_BLOCK_ELEMENTS = 2**12  # of a map in one program; more of them spill
_SMALLEST_PRODUCT = 16  # on tensor cores
# What torch.set_float32_matmul_precision allows; the default is exact.
_PRECISION = dict(highest='ieee', high='tf32x3', medium='tf32')


@triton.jit
def _transform(
    x,
    column_cos,
    column_sin,
    row_cos,
    row_sin,
    rows: tl.constexpr,
    half: tl.constexpr,
    channels: tl.constexpr,
    precision: tl.constexpr,
):
    """Real and imaginary part ``(rows, half, channels)`` of a map's."""
    real = tl.dot(column_cos, x, input_precision=precision)
    imag = tl.dot(column_sin, x, input_precision=precision)
    real = tl.reshape(real, (half, rows, channels))
    imag = tl.reshape(imag, (half, rows, channels))
    real = tl.reshape(tl.permute(real, (1, 0, 2)), (rows, half * channels))
    imag = tl.reshape(tl.permute(imag, (1, 0, 2)), (rows, half * channels))
    cosines = tl.dot(row_cos, real, input_precision=precision)
    a = tl.dot(row_sin, imag, cosines, input_precision=precision)
    cosines = tl.dot(row_cos, imag, input_precision=precision)
    b = cosines - tl.dot(row_sin, real, input_precision=precision)
    return (
        tl.reshape(a, (rows, half, channels)),
        tl.reshape(b, (rows, half, channels)),
    )


@triton.jit
def _inverse(
    real,
    imag,
    column_cos,
    column_sin,
    row_cos,
    row_sin,
    rows: tl.constexpr,
    half: tl.constexpr,
    channels: tl.constexpr,
    precision: tl.constexpr,
):
    """Inverse of ``_transform``, of the Hermitian part."""
    real = tl.reshape(real, (rows, half * channels))
    imag = tl.reshape(imag, (rows, half * channels))
    cosines = tl.dot(row_cos, real, input_precision=precision)
    a = cosines - tl.dot(row_sin, imag, input_precision=precision)
    cosines = tl.dot(row_cos, imag, input_precision=precision)
    b = tl.dot(row_sin, real, cosines, input_precision=precision)
    a = tl.permute(tl.reshape(a, (rows, half, channels)), (1, 0, 2))
    b = tl.permute(tl.reshape(b, (rows, half, channels)), (1, 0, 2))
    a = tl.reshape(a, (half, rows * channels))
    b = tl.reshape(b, (half, rows * channels))
    x = tl.dot(tl.trans(column_cos), a, input_precision=precision)
    return tl.dot(tl.trans(column_sin), b, x, input_precision=precision)


@triton.jit
def _tables(
    tables,
    rows: tl.constexpr,
    columns: tl.constexpr,
    half: tl.constexpr,
):
    """Cosines and sines of columns, the same with weights, and of rows."""
    k = tl.arange(0, half)[:, None]
    column = k * columns + tl.arange(0, columns)[None, :]
    row = (
        tl.arange(0, rows)[:, None] * rows + tl.arange(0, rows)[None, :]
    ) + 4 * half * columns
    size: tl.constexpr = half * columns
    return (
        tl.load(tables + column),
        tl.load(tables + size + column),
        tl.load(tables + 2 * size + column),
        tl.load(tables + 3 * size + column),
        tl.load(tables + row),
        tl.load(tables + rows * rows + row),
    )


@triton.jit
def _map_block(
    height,
    width,
    num_channels,
    rows: tl.constexpr,
    columns: tl.constexpr,
    channels: tl.constexpr,
):
    """Where this program's map ``(columns, rows * channels)`` lies."""
    image = tl.program_id(1).to(tl.int64)
    j = tl.arange(0, rows * channels)
    row, channel = j // channels, tl.program_id(0) * channels + j % channels
    column = tl.arange(0, columns)[:, None]
    place = (image * height + row)[None, :] * width + column
    place = place * num_channels + channel[None, :]
    inside = (row < height) & (channel < num_channels)
    return place, inside[None, :] & (column < width)


@triton.jit
def _filters(
    routing,
    basis,
    height,
    half_width,
    num_channels,
    num_filters: tl.constexpr,
    rows: tl.constexpr,
    half: tl.constexpr,
    channels: tl.constexpr,
):
    """Real and imaginary part of this program's filters."""
    real = tl.zeros((rows, half, channels), tl.float32)
    imag = tl.zeros((rows, half, channels), tl.float32)
    for n in tl.static_range(num_filters):
        weight, _, _ = _weight(routing, n, num_channels, num_filters, channels)
        a, b, _, _ = _basis(
            basis, n, height, half_width, num_filters, rows, half
        )
        real += a[:, :, None] * weight[None, None, :]
        imag += b[:, :, None] * weight[None, None, :]
    return real, imag


@triton.jit
def _weight(
    routing,
    n,
    num_channels,
    num_filters: tl.constexpr,
    channels: tl.constexpr,
):
    """Routing weights of one basis filter, with their place."""
    image = tl.program_id(1).to(tl.int64)
    channel = tl.program_id(0) * channels + tl.arange(0, channels)
    place = (image * num_filters + n) * num_channels + channel
    inside = channel < num_channels
    weight = tl.load(routing + place, mask=inside, other=0.0)
    return weight.to(tl.float32), place, inside


@triton.jit
def _basis(
    basis,
    n,
    height,
    half_width,
    num_filters: tl.constexpr,
    rows: tl.constexpr,
    half: tl.constexpr,
):
    """One basis filter, real and imaginary part, with its place."""
    row = tl.arange(0, rows)[:, None]
    column = tl.arange(0, half)[None, :]
    place = 2 * ((row * half_width + column) * num_filters + n)
    inside = (row < height) & (column < half_width)
    a = tl.load(basis + place, mask=inside, other=0.0)
    b = tl.load(basis + place + 1, mask=inside, other=0.0)
    return a, b, place, inside


@triton.jit
def _forward_kernel(
    y,
    x,
    routing,
    basis,
    tables,
    height,
    width,
    num_channels,
    num_filters: tl.constexpr,
    rows: tl.constexpr,
    columns: tl.constexpr,
    half: tl.constexpr,
    channels: tl.constexpr,
    precision: tl.constexpr,
):
    column_cos, column_sin, back_cos, back_sin, row_cos, row_sin = _tables(
        tables, rows, columns, half
    )
    place, inside = _map_block(
        height, width, num_channels, rows, columns, channels
    )
    value = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
    a, b = _transform(
        value,
        column_cos,
        column_sin,
        row_cos,
        row_sin,
        rows,
        half,
        channels,
        precision,
    )
    c, d = _filters(
        routing,
        basis,
        height,
        width // 2 + 1,
        num_channels,
        num_filters,
        rows,
        half,
        channels,
    )
    value = _inverse(
        a * c - b * d,
        a * d + b * c,
        back_cos,
        back_sin,
        row_cos,
        row_sin,
        rows,
        half,
        channels,
        precision,
    )
    tl.store(y + place, value.to(y.dtype.element_ty), mask=inside)


@triton.jit
def _backward_kernel(
    grad_x,
    grad_routing,
    grad_basis,
    grad,
    x,
    routing,
    basis,
    weighted,
    tables,
    height,
    width,
    num_channels,
    num_filters: tl.constexpr,
    rows: tl.constexpr,
    columns: tl.constexpr,
    half: tl.constexpr,
    channels: tl.constexpr,
    precision: tl.constexpr,
):
    column_cos, column_sin, back_cos, back_sin, row_cos, row_sin = _tables(
        tables, rows, columns, half
    )
    place, inside = _map_block(
        height, width, num_channels, rows, columns, channels
    )
    value = tl.load(grad + place, mask=inside, other=0.0).to(tl.float32)
    u, v = _transform(
        value,
        column_cos,
        column_sin,
        row_cos,
        row_sin,
        rows,
        half,
        channels,
        precision,
    )
    half_width = width // 2 + 1
    c, d = _filters(
        routing,
        basis,
        height,
        half_width,
        num_channels,
        num_filters,
        rows,
        half,
        channels,
    )
    value = _inverse(
        c * u + d * v,
        c * v - d * u,
        back_cos,
        back_sin,
        row_cos,
        row_sin,
        rows,
        half,
        channels,
        precision,
    )
    tl.store(grad_x + place, value.to(grad_x.dtype.element_ty), mask=inside)
    value = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
    a, b = _transform(
        value,
        column_cos,
        column_sin,
        row_cos,
        row_sin,
        rows,
        half,
        channels,
        precision,
    )
    # Of the filters; padding is zero there, as in both spectra.
    c, d = a * u + b * v, a * v - b * u
    program = tl.program_id(1) * tl.num_programs(0) + tl.program_id(0)
    grad_basis += program.to(tl.int64) * 2 * num_filters * height * half_width
    for n in tl.static_range(num_filters):
        a, b, entry, exists = _basis(
            weighted, n, height, half_width, num_filters, rows, half
        )
        sums = tl.sum(c * a[:, :, None] + d * b[:, :, None], axis=0)
        weight, to, within = _weight(
            routing, n, num_channels, num_filters, channels
        )
        tl.store(
            grad_routing + to,
            tl.sum(sums, axis=0).to(grad_routing.dtype.element_ty),
            mask=within,
        )
        real = tl.sum(c * weight[None, None, :], axis=2)
        imag = tl.sum(d * weight[None, None, :], axis=2)
        tl.store(grad_basis + entry, real, mask=exists)
        tl.store(grad_basis + entry + 1, imag, mask=exists)


def _padded(size: int) -> int:
    return max(_SMALLEST_PRODUCT, triton.next_power_of_2(size))


def block(grid: Grid) -> dict[str, int]:
    """Sizes of what a program holds.

    Args:
        grid (tuple[int, int]): ``(H, W)``.

    Returns:
        dict[str, int]: ``rows``, ``columns`` and ``half`` of them, all padded,
        and ``channels``.
    """
    rows, columns = _padded(grid[0]), _padded(grid[1])
    return dict(
        rows=rows,
        columns=columns,
        half=_padded(grid[1] // 2 + 1),
        channels=max(1, _BLOCK_ELEMENTS // (rows * columns)),
    )


@lru_cache(maxsize=64)
def _padded_tables(grid: Grid, device: torch.device) -> Tensor:
    """What the kernel's ``_tables`` reads, one after the other."""
    sizes = block(grid)
    like = torch.empty(0, dtype=torch.float64)
    with torch.inference_mode(False), torch.no_grad():
        cos, sin = column_table(grid[1], like)
        weights = column_weights(grid[1], like)[:, None]
        index = whole_numbers(grid[0], like)
        row_angles = angles(index, index, grid[0])
        root = square_root(grid[0], like)
        by_column = (sizes['half'], sizes['columns'])
        by_row = (sizes['rows'], sizes['rows'])
        parts = []
        for table, shape in (
            (cos, by_column),
            (sin, by_column),
            (cos * weights, by_column),
            (sin * weights, by_column),
            (row_angles.cos() / root, by_row),
            (row_angles.sin() / root, by_row),
        ):
            padded = table.new_zeros(shape)
            padded[: table.shape[0], : table.shape[1]] = table
            parts.append(padded.flatten())
        return torch.cat(parts).to(device, torch.float32)


def _launch(kernel, tensors: tuple[Tensor, ...], x: Tensor, num_filters: int):
    batch, height, width, channels = x.shape
    sizes = block((height, width))
    kernel[triton.cdiv(channels, sizes['channels']), batch](
        *(tensor.contiguous() for tensor in tensors),
        _padded_tables((height, width), x.device),
        height,
        width,
        channels,
        num_filters,
        **sizes,
        precision=_PRECISION[torch.get_float32_matmul_precision()],
        num_warps=8,
    )


def forward(x: Tensor, routing: Tensor | None, filter: Tensor) -> Tensor:
    """Dynamic filter on a map.

    Args:
        x (Tensor): Float32 or half precision, ``(B, H, W, C)``.
        routing (Tensor): ``(B, N, C)``.
        filter (Tensor): The basis, ``(H, W // 2 + 1, N, 2)``.

    Returns:
        Tensor: Shape and dtype of ``x``.
    """
    assert routing is not None  # static filters are never dispatched here
    y = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    if len(x):
        ins = (x, routing, filter.float())
        _launch(_forward_kernel, (y, *ins), x, filter.shape[2])
    return y


def backward(
    grad: Tensor, x: Tensor, routing: Tensor | None, filter: Tensor
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Gradients of :func:`forward`.

    Args:
        grad (Tensor): Gradient of its result.
        x (Tensor): The map, as :func:`forward` takes it.
        routing (Tensor): ``(B, N, C)``.
        filter (Tensor): The basis, ``(H, W // 2 + 1, N, 2)``.

    Returns:
        tuple[Tensor, Tensor, Tensor]: Gradients of x, routing and filter.
    """
    assert routing is not None  # static filters are never dispatched here
    batch, height, width, channels = x.shape
    exact = filter.float()
    weights = column_weights(width, exact)[:, None, None]
    grad_x = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    grad_routing = routing.new_empty(routing.shape)
    if not batch:
        return grad_x, grad_routing, torch.zeros_like(filter)
    programs = batch * triton.cdiv(
        channels, block((height, width))['channels']
    )
    # A part for each program: sums in a fixed order, without atomics.
    parts = exact.new_empty(programs, *filter.shape)
    outs = (grad_x, grad_routing, parts)
    ins = (grad, x, routing, exact, exact * weights)
    _launch(_backward_kernel, (*outs, *ins), x, filter.shape[2])
    return grad_x, grad_routing, (parts.sum(0) * weights).to(filter.dtype)
