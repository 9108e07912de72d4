# Copyright (c) mmfft authors. All rights reserved.
"""A filter on a small map as one kernel: sums and differences of pairs.

Points p and -p are added and subtracted as they are read. The whole transform
in two dimensions is then one product of the sums with cosines and one of the
differences with sines, about half as large on each side as the map has points,
and so is the way back. Nothing is reordered in between, x is read once and y
is written once.
"""

import triton
import triton.language as tl

from ..spectrum import Grid
from .one_kernel import Design, OneKernelFilter
from .spectra import (
    Order,
    basis_gradients,
    factor,
    filter_gradient,
    filters_of,
    largest_table,
    load_table,
    multiply,
    multiply_adjoint,
    no_sums,
    padded,
    pair,
    store_part,
    store_routing,
)


def count_pairs(grid: Grid) -> int:
    """Number of pairs of points p and -p, single points included."""
    single = (2 - grid[0] % 2) * (2 - grid[1] % 2)
    return (grid[0] * grid[1] + single) // 2


def fits(grid: Grid, operands: str, capability: tuple[int, int]) -> bool:
    """Whether a grid is small enough for one program to hold."""
    return count_pairs(grid) <= largest_table(operands, capability)


@triton.jit
def _places(height, width, inner: tl.constexpr):
    """Where both points of each pair lie; -1 where there is none."""
    e = tl.arange(0, inner)
    row, column, exists = pair(e, height, width)
    here = row * width + column
    there = (height - row) % height * width + (width - column) % width
    there = tl.where(exists & (there != here), there, -1)
    return tl.where(exists, here, -1), there


@triton.jit
def _spectrum(
    x,
    here,
    there,
    c,
    inside,
    num_channels,
    cos,
    sin,
    precision: tl.constexpr,
):
    at = x + here[:, None] * num_channels + c[None, :]
    a = tl.load(at, mask=(here >= 0)[:, None] & inside[None, :], other=0.0)
    at = x + there[:, None] * num_channels + c[None, :]
    b = tl.load(at, mask=(there >= 0)[:, None] & inside[None, :], other=0.0)
    a, b = a.to(tl.float32), b.to(tl.float32)
    u = tl.dot(
        cos, factor(a + b, cos.dtype, precision), input_precision=precision
    )
    v = tl.dot(
        sin, factor(a - b, cos.dtype, precision), input_precision=precision
    )
    return u, v


@triton.jit
def _store_map(
    y,
    u,
    v,
    here,
    there,
    c,
    inside,
    num_channels,
    cos,
    sin,
    precision: tl.constexpr,
):
    a = tl.dot(cos, factor(u, cos.dtype, precision), input_precision=precision)
    b = tl.dot(sin, factor(v, cos.dtype, precision), input_precision=precision)
    dtype = y.dtype.element_ty
    at = y + here[:, None] * num_channels + c[None, :]
    mask = (here >= 0)[:, None] & inside[None, :]
    tl.store(at, (a + b).to(dtype), mask=mask)
    at = y + there[:, None] * num_channels + c[None, :]
    mask = (there >= 0)[:, None] & inside[None, :]
    tl.store(at, (a - b).to(dtype), mask=mask)


@triton.jit
def _forward_kernel(
    y,
    x,
    routing,
    packed,
    table,
    second_table,
    height,
    width,
    num_channels,
    num_filters: tl.constexpr,
    outer: tl.constexpr,
    inner: tl.constexpr,
    block: tl.constexpr,
    precision: tl.constexpr,
):
    blocks = tl.cdiv(num_channels, block)
    image = (tl.program_id(0) // blocks).to(tl.int64)
    c = tl.program_id(0) % blocks * block + tl.arange(0, block)
    inside = c < num_channels
    start = image * height * width * num_channels
    here, there = _places(height, width, inner)
    cos, sin = load_table(table, inner)
    u, v = _spectrum(
        x + start, here, there, c, inside, num_channels, cos, sin, precision
    )
    real, imag = filters_of(
        packed,
        routing,
        image,
        tl.arange(0, inner),
        c,
        inside,
        num_channels,
        num_filters,
        inner,
    )
    u, v = multiply(real, imag, u, v)
    _store_map(
        y + start,
        u,
        v,
        here,
        there,
        c,
        inside,
        num_channels,
        cos,
        sin,
        precision,
    )


@triton.jit
def _backward_kernel(
    grad_x,
    grad_routing,
    parts,
    grad,
    x,
    routing,
    packed,
    table,
    second_table,
    height,
    width,
    num_channels,
    num_images,
    num_filters: tl.constexpr,
    num_rows: tl.constexpr,
    outer: tl.constexpr,
    inner: tl.constexpr,
    block: tl.constexpr,
    precision: tl.constexpr,
):
    """Each program takes some images, and writes one part of a sum."""
    blocks = tl.cdiv(num_channels, block)
    turn = tl.program_id(0) // blocks
    c = tl.program_id(0) % blocks * block + tl.arange(0, block)
    inside = c < num_channels
    e = tl.arange(0, inner)
    here, there = _places(height, width, inner)
    cos, sin = load_table(table, inner)
    a_grad = no_sums(inner, block, num_filters, num_rows)
    b_grad = no_sums(inner, block, num_filters, num_rows)
    for i in range(turn, num_images, tl.num_programs(0) // blocks):
        image = tl.full((), 0, tl.int64) + i
        start = image * height * width * num_channels
        u, v = _spectrum(
            grad + start,
            here,
            there,
            c,
            inside,
            num_channels,
            cos,
            sin,
            precision,
        )
        real, imag = filters_of(
            packed,
            routing,
            image,
            e,
            c,
            inside,
            num_channels,
            num_filters,
            inner,
        )
        p, q = multiply_adjoint(real, imag, u, v)
        _store_map(
            grad_x + start,
            p,
            q,
            here,
            there,
            c,
            inside,
            num_channels,
            cos,
            sin,
            precision,
        )
        p, q = _spectrum(
            x + start,
            here,
            there,
            c,
            inside,
            num_channels,
            cos,
            sin,
            precision,
        )
        real, imag = filter_gradient(u, v, p, q)
        if num_filters == 0:
            a_grad += real
            b_grad += imag
        else:
            sums, a, b = basis_gradients(
                real,
                imag,
                packed,
                routing,
                image,
                e,
                c,
                inside,
                num_channels,
                num_filters,
                num_rows,
                inner,
                True,
                cos.dtype,
                precision,
            )
            a_grad += a
            b_grad += b
            store_routing(
                grad_routing,
                sums,
                image,
                c,
                inside,
                num_channels,
                num_filters,
                num_rows,
            )
    store_part(
        parts,
        a_grad,
        b_grad,
        e,
        c,
        inside,
        num_channels,
        num_filters,
        num_rows,
        inner,
    )


def _design(grid: Grid, operands: str) -> Design:
    side = padded(count_pairs(grid))
    return Design(
        Order('pairs', grid, side),
        (*grid, side),
        block=32 if operands == 'tf32x3' else 64,
        backward_block=32,
        num_warps=8 if side > 32 else 4,
        by_products=True,
    )


FILTER = OneKernelFilter(_design, _forward_kernel, _backward_kernel)
