# Copyright (c) mmfft authors. All rights reserved.
"""What the kernels for filters share: tables, entries of spectra, mixing.

A kernel holds a spectrum as *entries* in an order of its own, padded to powers
of two. Points p and -p of a real map, and of its spectrum, are sum and
difference of each other's, so that a transform is a real product with cosines
and one with sines. An entry X is kept as (u, v) with X = u - iv. The order of
the entries is one of

- ``pairs``: half of all points (k, l), one of each pair (k, l) and (-k, -l);
- ``quadrants``: (sign, k, l), the rows k and -k and the non-negative columns;
- ``by_column``: (l, sign, k), the same column by column;
- ``by_row``: (k, sign, l), the non-negative rows, with columns l and -l.

Before each filter :func:`prepare` writes the tables and brings the filters,
with the weights of their entries, into that order. It does so on the GPU and
keeps nothing: what a CUDA graph replays must not depend on memory that a cache
may drop.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..spectrum import Grid
from .launch import launch

_BLOCK = 512  # elements of a table or of packed filters in one program
SMALLEST_PRODUCT = 16  # side of the smallest matrix on tensor cores
_OPERANDS = dict(tf32x3=torch.float32, tf32=torch.float32, bf16=torch.bfloat16)
# What Triton's product is asked for; bfloat16 operands are exact as they are.
DOT_PRECISION = dict(tf32x3='tf32x3', tf32='tf32', bf16='ieee')


def padded(size: int) -> int:
    """Side of the matrix that holds ``size`` rows or columns."""
    return max(SMALLEST_PRODUCT, triton.next_power_of_2(size))


def largest_table(operands: str, capability: tuple[int, int]) -> int:
    """Side of the largest tables that one program can hold, 0 for none.

    The tensor cores of an H100 read tables from its shared memory, which two
    of 128 x 128 in float32 nearly fill. Other GPUs have less of it, and most
    read tables from registers: threads that hold larger ones spill kilobytes
    each, long before the shared memory is full.

    Args:
        operands (str): Precision of the products.
        capability (tuple[int, int]): Compute capability of the GPU.

    Returns:
        int: Number of rows, a power of two or 0.
    """
    if capability < (8, 0):
        return 0  # no products in TF32
    if capability[0] != 9:
        return 32
    return 64 if operands == 'tf32x3' else 128


class Order(NamedTuple):
    """Order of the entries of a half spectrum.

    Attributes:
        name (str): ``'pairs'``, ``'quadrants'``, ``'by_column'`` or
            ``'by_row'``.
        grid (tuple[int, int]): ``(H, W)`` of the map.
        inner (int): Padded number of entries along the last axis.
        outer (int): Number of entries along the axis before the sign, or
            after it in ``quadrants``; 1 in ``pairs``.
    """

    name: str
    grid: Grid
    inner: int
    outer: int = 1

    @property
    def num_entries(self) -> int:
        """Number of entries, padding included."""
        signs = 1 if self.name == 'pairs' else 2
        return signs * self.outer * self.inner

    def sizes(self) -> dict:
        """What the kernels of this module have to know.

        Only the padded number is a constant, for which they are compiled: one
        kernel serves maps of many sizes.
        """
        return dict(
            order=self.name,
            outer=self.outer,
            inner=self.inner,
            num_entries=self.num_entries,
        )


@triton.jit
def pair(e, height, width):
    """Point ``(row, column)`` of pair ``e``, and whether there is one.

    Pairs that lie in the columns 0 and W / 2 come first.
    """
    rows = height // 2 + 1
    first = rows * (2 - width % 2)
    is_first = e < first
    later = tl.maximum(e - first, 0)
    row = tl.where(is_first, e % rows, later % height)
    column = tl.where(is_first, e // rows * (width // 2), 1 + later // height)
    return row, column, e < first + height * ((width - 1) // 2)


@triton.jit
def factor(x, dtype: tl.constexpr, precision: tl.constexpr):
    """``x``, in float32, as a factor of a product, rounded to the nearest.

    Of float32, tensor cores cut off the last 13 bits for TF32. All products
    would be too small, those of a whole filter by 0.2 to 0.4 percent.
    """
    if precision == 'tf32' and dtype == tl.float32:
        # 2^13 + 1 times x has no room for those bits, 2^13 times x is exact.
        # As one operation, which no compiler turns back into x.
        x = tl.fma(x, -8192.0, 8193.0 * x)
    return x.to(dtype)


@triton.jit
def _table_block(
    table,
    block,
    height,
    width,
    size,
    num_elements: tl.constexpr,
    precision: tl.constexpr,
):
    """Cosines, then sines, of all pairs of a grid with one another.

    The transform of one axis of n points is that of a grid n x 1.
    """
    at = block * num_elements + tl.arange(0, num_elements)
    inside = at < 2 * size * size
    row, column, exists = pair(at // size % size, height, width)
    k, m, exists_too = pair(at % size, height, width)
    points = height * width + 0 * at
    turn = row * k % height * width + column * m % width * height
    turn = turn % points
    turn = tl.where(2 * turn > points, turn - points, turn).to(tl.float64)
    # A number by itself would be of float32.
    circle = tl.full((), 6.283185307179586, tl.float64)
    points = points.to(tl.float64)
    angle = turn * circle / points
    value = tl.where(at < size * size, tl.cos(angle), tl.sin(angle))
    value = value / tl.sqrt(points)
    value = tl.where(exists & exists_too, value, 0.0).to(tl.float32)
    value = factor(value, table.dtype.element_ty, precision)
    tl.store(table + at, value, mask=inside)


@triton.jit
def _position(
    e,
    height,
    width,
    order: tl.constexpr,
    outer,
    inner: tl.constexpr,
):
    """Where entry ``e`` stands in the half spectrum, with its weight.

    The weight is 0 for padding. The last result is -1 where the entry is the
    conjugate of what stands there.
    """
    conjugate = 1.0 + 0.0 * e
    if order == 'pairs':
        row, column, exists = pair(e, height, width)
        once = (2 * row % height == 0) & (2 * column % width == 0)
    else:
        if order == 'quadrants':
            sign, k, m = e // (outer * inner), e // inner % outer, e % inner
        elif order == 'by_column':
            m, sign, k = e // (2 * inner), e // inner % 2, e % inner
        else:
            k, sign, m = e // (2 * inner), e // inner % 2, e % inner
        exists = (2 * k <= height) & (2 * m <= width)
        row, column = k, m
        if order == 'by_row':
            mirrored = (m > 0) & (2 * m < width)
            conjugate = tl.where(sign == 1, -1.0, 1.0)
            once = 2 * k % height == 0
        else:
            mirrored = (k > 0) & (2 * k < height)
            once = 2 * m % width == 0
        exists = exists & ((sign == 0) | mirrored)
        row = tl.where(sign == 1, (height - k) % height, k)
    weight = tl.where(exists, tl.where(once, 1.0, 2.0), 0.0)
    return row, column, weight, conjugate


@triton.jit
def _pack_block(
    packed,
    filters,
    block,
    height,
    width,
    num_filters,
    by_channel: tl.constexpr,
    order: tl.constexpr,
    outer,
    inner: tl.constexpr,
    num_entries,
    num_elements: tl.constexpr,
):
    at = block * num_elements + tl.arange(0, num_elements)
    inside = at < num_entries * num_filters
    if by_channel:
        e, n = at // num_filters, at % num_filters
    else:
        e, n = at % num_entries, at // num_entries
    row, column, weight, conjugate = _position(
        e, height, width, order, outer, inner
    )
    half = width // 2 + 1
    exists = inside & (weight > 0)
    place = filters + 2 * ((row * half + column) * num_filters + n)
    real = tl.load(place, mask=exists, other=0.0).to(tl.float32)
    imag = tl.load(place + 1, mask=exists, other=0.0).to(tl.float32)
    # Only the Hermitian part of a column acts that is its own mirror image.
    both = exists & (2 * column % width == 0)
    row = (height - row) % height
    place = filters + 2 * ((row * half + column) * num_filters + n)
    there = tl.load(place, mask=both, other=0.0).to(tl.float32)
    real = tl.where(both, (real + there) / 2, real)
    there = tl.load(place + 1, mask=both, other=0.0).to(tl.float32)
    imag = tl.where(both, (imag - there) / 2, imag)
    tl.store(packed + at, weight * real, mask=inside)
    at += num_entries * num_filters
    tl.store(packed + at, weight * conjugate * imag, mask=inside)


@triton.jit
def _prepare_kernel(
    packed,
    table,
    second_table,
    filters,
    height,
    width,
    num_filters,
    table_height,
    table_width,
    table_size,
    second_height,
    second_size,
    by_channel: tl.constexpr,
    order: tl.constexpr,
    outer,
    inner: tl.constexpr,
    num_entries,
    num_elements: tl.constexpr,
    precision: tl.constexpr,
):
    block = tl.program_id(0)
    blocks = tl.cdiv(2 * table_size * table_size, num_elements)
    second_blocks = tl.cdiv(2 * second_size * second_size, num_elements)
    if block < blocks:
        _table_block(
            table,
            block,
            table_height,
            table_width,
            table_size,
            num_elements,
            precision,
        )
    elif block < blocks + second_blocks:
        _table_block(
            second_table,
            block - blocks,
            second_height,
            1,
            second_size,
            num_elements,
            precision,
        )
    else:
        _pack_block(
            packed,
            filters,
            block - blocks - second_blocks,
            height,
            width,
            num_filters,
            by_channel,
            order,
            outer,
            inner,
            num_entries,
            num_elements,
        )


@triton.jit
def _entry_gradient(
    packed,
    e,
    weight,
    n,
    num_filters,
    by_channel: tl.constexpr,
    num_entries,
):
    exists = weight > 0
    if by_channel:
        at = packed + e * num_filters + n
    else:
        at = packed + n * num_entries + e
    real = tl.load(at, mask=exists, other=0.0)
    imag = tl.load(at + num_entries * num_filters, mask=exists, other=0.0)
    return weight * real, weight * imag


@triton.jit
def _gradient_at(
    packed,
    row,
    column,
    inside,
    n,
    height,
    width,
    num_filters,
    by_channel: tl.constexpr,
    order: tl.constexpr,
    outer,
    inner: tl.constexpr,
    num_entries,
):
    """Gradient of what stands at a place of the half spectrum."""
    own_column = 2 * column % width == 0
    weight = tl.where(own_column, 1.0, 2.0)
    if order == 'pairs':
        rows = height // 2 + 1
        e = tl.where(
            own_column,
            tl.where(column > 0, rows, 0) + row,
            rows * (2 - width % 2) + (column - 1) * height + row,
        )
        once = own_column & (2 * row % height == 0)
        exists = inside & (~own_column | (row < rows))
        weight = tl.where(exists, tl.where(once, 1.0, 2.0), 0.0)
        real, imag = _entry_gradient(
            packed, e, weight, n, num_filters, by_channel, num_entries
        )
    elif order == 'by_row':
        weight = tl.where(2 * row % height == 0, 1.0, 2.0)
        e = 2 * row * inner + column
        here = tl.where(inside & (2 * row <= height), weight, 0.0)
        real, imag = _entry_gradient(
            packed, e, here, n, num_filters, by_channel, num_entries
        )
        mirror = (height - row) % height
        e = (2 * mirror + 1) * inner + column
        there = inside & (2 * mirror <= height) & ~own_column
        there = tl.where(there, weight, 0.0)
        other, other_imag = _entry_gradient(
            packed, e, there, n, num_filters, by_channel, num_entries
        )
        real, imag = real + other, imag - other_imag
    else:
        sign = tl.where(2 * row > height, 1, 0)
        k = tl.where(2 * row > height, height - row, row)
        if order == 'quadrants':
            e = (sign * outer + k) * inner + column
        else:
            e = (2 * column + sign) * inner + k
        weight = tl.where(inside, weight, 0.0)
        real, imag = _entry_gradient(
            packed, e, weight, n, num_filters, by_channel, num_entries
        )
    return real, imag


@triton.jit
def _unpack_kernel(
    filters,
    packed,
    height,
    width,
    num_filters,
    by_channel: tl.constexpr,
    order: tl.constexpr,
    outer,
    inner: tl.constexpr,
    num_entries,
    num_elements: tl.constexpr,
):
    """Adjoint of ``_pack_block``."""
    at = tl.program_id(0) * num_elements + tl.arange(0, num_elements)
    half = width // 2 + 1
    inside = at < height * half * num_filters
    n, column = at % num_filters, at // num_filters % half
    row = at // (num_filters * half)
    real, imag = _gradient_at(
        packed,
        row,
        column,
        inside,
        n,
        height,
        width,
        num_filters,
        by_channel,
        order,
        outer,
        inner,
        num_entries,
    )
    both = inside & (2 * column % width == 0)
    other, other_imag = _gradient_at(
        packed,
        (height - row) % height,
        column,
        both,
        n,
        height,
        width,
        num_filters,
        by_channel,
        order,
        outer,
        inner,
        num_entries,
    )
    real = tl.where(both, (real + other) / 2, real)
    imag = tl.where(both, (imag - other_imag) / 2, imag)
    dtype = filters.dtype.element_ty
    tl.store(filters + 2 * at, real.to(dtype), mask=inside)
    tl.store(filters + 2 * at + 1, imag.to(dtype), mask=inside)


def prepare(
    filter: Tensor,
    is_dynamic: bool,
    order: Order,
    operands: str,
    table: tuple[int, int, int],
    second_table: tuple[int, int] = (1, 0),
) -> tuple[Tensor, Tensor, Tensor]:
    """Filters in the order of a kernel, with its tables.

    Args:
        filter (Tensor): Static filters or a basis,
            ``(H, W // 2 + 1, K, 2)``.
        is_dynamic (bool): Whether it is a basis.
        order (Order): Order of the entries.
        operands (str): Precision of the products, see
            :func:`mmfft.ops.precision.operand_precision`.
        table (tuple[int, int, int]): Height and width of the grid that the
            first table transforms, and its padded side.
        second_table (tuple[int, int]): Length of the axis that the second
            table transforms, and its padded side. By default there is none.

    Returns:
        tuple[Tensor, Tensor, Tensor]: Filters in float32,
        ``(2, K, num_entries)`` for a basis and else ``(2, num_entries, K)``,
        and both tables, ``(2, side, side)``, cosines before sines.
    """
    filter = filter.contiguous()
    num_filters = filter.shape[2]
    shape = (num_filters, order.num_entries)
    packed = torch.empty(
        2,
        *(shape if is_dynamic else reversed(shape)),
        dtype=torch.float32,
        device=filter.device,
    )
    first, second = (
        packed.new_empty(2, side, side, dtype=_OPERANDS[operands])
        for side in (table[2], second_table[1])
    )
    outs = (packed[0], first, second)
    blocks = sum(triton.cdiv(out.numel(), _BLOCK) for out in outs)
    launch(
        _prepare_kernel,
        blocks,
        packed,
        first,
        second,
        filter,
        *order.grid,
        num_filters,
        *table,
        *second_table,
        by_channel=not is_dynamic,
        num_elements=_BLOCK,
        precision=DOT_PRECISION[operands],
        num_warps=4,
        **order.sizes(),
    )
    return packed, first, second


def unpack(
    parts: Tensor, like: Tensor, is_dynamic: bool, order: Order
) -> Tensor:
    """Gradient of filters from those of what :func:`prepare` packed.

    Args:
        parts (Tensor): Float32, each like the packed filters; their sum is
            taken in a fixed order.
        like (Tensor): The filters.
        is_dynamic (bool): Whether they are a basis.
        order (Order): Order of the entries.

    Returns:
        Tensor: Shape and dtype of ``like``.
    """
    grad = torch.empty(like.shape, dtype=like.dtype, device=like.device)
    launch(
        _unpack_kernel,
        triton.cdiv(grad.numel() // 2, _BLOCK),
        grad,
        parts.sum(0),
        *order.grid,
        like.shape[2],
        by_channel=not is_dynamic,
        num_elements=_BLOCK,
        num_warps=4,
        **order.sizes(),
    )
    return grad


@triton.jit
def load_table(table, size: tl.constexpr):
    """Cosines and sines ``(size, size)`` as :func:`prepare` makes them."""
    k = tl.arange(0, size)
    at = table + k[:, None] * size + k[None, :]
    return tl.load(at), tl.load(at + size * size)


@triton.jit
def multiply(real, imag, u, v):
    """Entries u - iv times filters."""
    return real * u + imag * v, real * v - imag * u


@triton.jit
def multiply_adjoint(real, imag, u, v):
    """Entries u - iv times the conjugates of filters."""
    return real * u - imag * v, real * v + imag * u


@triton.jit
def filter_gradient(u, v, p, q):
    """Gradient of filters, from entries u - iv of dy and p - iq of x."""
    return p * u + q * v, q * u - p * v


@triton.jit
def filters_of(
    packed,
    routing,
    image,
    e,
    c,
    inside,
    num_channels,
    num_filters: tl.constexpr,
    num_entries,
):
    """Filters ``(entries, channels)`` of an image, real and imaginary part.

    They are read where there are no basis filters.
    """
    if num_filters == 0:
        at = packed + e[:, None] * num_channels + c[None, :]
        real = tl.load(at, mask=inside[None, :], other=0.0)
        at += num_entries * num_channels
        imag = tl.load(at, mask=inside[None, :], other=0.0)
    else:
        shape: tl.constexpr = (e.shape[0], c.shape[0])
        real = tl.zeros(shape, tl.float32)
        imag = tl.zeros(shape, tl.float32)
        for n in tl.static_range(num_filters):
            at = routing + (image * num_filters + n) * num_channels + c
            weight = tl.load(at, mask=inside, other=0.0).to(tl.float32)
            a = tl.load(packed + n * num_entries + e)
            b = tl.load(packed + (num_filters + n) * num_entries + e)
            real += a[:, None] * weight[None, :]
            imag += b[:, None] * weight[None, :]
    return real, imag


@triton.jit
def no_sums(
    num_entries,
    block: tl.constexpr,
    num_filters: tl.constexpr,
    num_rows: tl.constexpr,
):
    """Zeros for the gradient of static filters, or of a basis."""
    if num_filters == 0:
        sums = tl.zeros((num_entries, block), tl.float32)
    else:
        sums = tl.zeros((num_rows, num_entries), tl.float32)
    return sums


@triton.jit
def basis_gradients(
    real,
    imag,
    packed,
    routing,
    image,
    e,
    c,
    inside,
    num_channels,
    num_filters: tl.constexpr,
    num_rows: tl.constexpr,
    num_entries,
    by_products: tl.constexpr,
    dtype: tl.constexpr,
    precision: tl.constexpr,
):
    """Gradients of routing and basis from those of the filters.

    Of the routing it is ``(num_rows, channels)``, of the basis
    ``(num_rows, entries)`` twice; ``num_rows`` is ``num_filters``, padded.
    They are sums, or products on tensor cores of operands of ``dtype``.
    """
    n = tl.arange(0, num_rows)[:, None]
    if by_products:
        exists = n < num_filters
        real = factor(real, dtype, precision)
        imag = factor(imag, dtype, precision)
        at = packed + n * num_entries + e[None, :]
        a = tl.load(at, mask=exists, other=0.0)
        a = factor(a, dtype, precision)
        grad = tl.dot(a, real, input_precision=precision)
        at += num_filters * num_entries
        b = tl.load(at, mask=exists, other=0.0)
        b = factor(b, dtype, precision)
        grad = tl.dot(b, imag, grad, input_precision=precision)
        at = routing + (image * num_filters + n) * num_channels + c[None, :]
        mask = exists & inside[None, :]
        weight = tl.load(at, mask=mask, other=0.0).to(tl.float32)
        weight = factor(weight, dtype, precision)
        a_grad = tl.dot(weight, tl.trans(real), input_precision=precision)
        b_grad = tl.dot(weight, tl.trans(imag), input_precision=precision)
    else:
        grad = tl.zeros((num_rows, c.shape[0]), tl.float32)
        a_grad = tl.zeros((num_rows, e.shape[0]), tl.float32)
        b_grad = tl.zeros((num_rows, e.shape[0]), tl.float32)
        for i in tl.static_range(num_filters):
            at = routing + (image * num_filters + i) * num_channels + c
            weight = tl.load(at, mask=inside, other=0.0).to(tl.float32)
            a = tl.load(packed + i * num_entries + e)
            b = tl.load(packed + (num_filters + i) * num_entries + e)
            sums = tl.sum(real * a[:, None] + imag * b[:, None], axis=0)
            grad = tl.where(n == i, sums[None, :], grad)
            sums = tl.sum(real * weight[None, :], axis=1)
            a_grad = tl.where(n == i, sums[None, :], a_grad)
            sums = tl.sum(imag * weight[None, :], axis=1)
            b_grad = tl.where(n == i, sums[None, :], b_grad)
    return grad, a_grad, b_grad


@triton.jit
def store_routing(
    grad_routing,
    grad,
    row,
    c,
    inside,
    num_channels,
    num_filters: tl.constexpr,
    num_rows: tl.constexpr,
):
    """Store gradients ``(num_rows, channels)`` of the routing of a row."""
    n = tl.arange(0, num_rows)[:, None]
    at = (row * num_filters + n) * num_channels + c[None, :]
    mask = (n < num_filters) & inside[None, :]
    tl.store(grad_routing + at, grad.to(grad_routing.dtype.element_ty), mask)


@triton.jit
def store_part(
    parts,
    real,
    imag,
    e,
    c,
    inside,
    num_channels,
    num_filters: tl.constexpr,
    num_rows: tl.constexpr,
    num_entries,
):
    """Store what a program has summed over its images, as it is packed.

    Programs come by channels first. Those of the same images share the part
    of a static filter, and have one each of a basis.
    """
    if num_filters == 0:
        part = tl.program_id(0) // tl.cdiv(num_channels, c.shape[0])
        size = num_entries * num_channels
        at = e[:, None] * num_channels + c[None, :]
        mask = inside[None, :]
    else:
        part = tl.program_id(0)
        size = num_filters * num_entries
        n = tl.arange(0, num_rows)[:, None]
        at = n * num_entries + e[None, :]
        mask = n < num_filters
    at += part.to(tl.int64) * 2 * size
    tl.store(parts + at, real, mask=mask)
    tl.store(parts + at + size, imag, mask=mask)
