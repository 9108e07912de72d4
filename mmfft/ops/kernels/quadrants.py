# Copyright (c) mmfft authors. All rights reserved.
"""A filter on a medium-sized map as one kernel: combined quadrants.

The four points (+-h, +-w) are combined as they are read, so that the transform
in two dimensions is four real ones, each a product with a table of a quarter
of the size along either axis. x is read once and y is written once.
"""

import triton
import triton.language as tl

from ..spectrum import Grid
from .one_kernel import Design, OneKernelFilter
from .spectra import (
    SMALLEST_PRODUCT,
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
    store_part,
    store_routing,
)


def fits(grid: Grid, operands: str, capability: tuple[int, int]) -> bool:
    """Whether a grid is small enough for one program to hold."""
    largest = largest_table(operands, capability)
    return max(grid) // 2 < min(SMALLEST_PRODUCT, largest)


@triton.jit
def _places(
    height,
    width,
    num_channels,
    outer: tl.constexpr,
    inner: tl.constexpr,
    block: tl.constexpr,
):
    """Where the quadrants ``(w, h * channels)`` of a map lie, -1 for nowhere.

    They are (+h, +w), (+h, -w), (-h, +w) and (-h, -w).
    """
    blocks = tl.cdiv(num_channels, block)
    j = tl.arange(0, outer * block)[None, :]
    w = tl.arange(0, inner)[:, None]
    h, c = j // block, tl.program_id(0) % blocks * block + j % block
    here = (2 * h <= height) & (2 * w <= width) & (c < num_channels)
    # Rows and columns that are their own mirror images have no other.
    below = here & (h > 0) & (2 * h < height)
    right = here & (w > 0) & (2 * w < width)
    a = (h * width + w) * num_channels + c
    b = (h * width + width - w) * num_channels + c
    d = ((height - h) * width + w) * num_channels + c
    f = ((height - h) * width + width - w) * num_channels + c
    return (
        tl.where(here, a, -1),
        tl.where(right, b, -1),
        tl.where(below, d, -1),
        tl.where(right & below, f, -1),
    )


@triton.jit
def _load(x, at):
    return tl.load(x + at, mask=at >= 0, other=0.0).to(tl.float32)


@triton.jit
def _transform(
    x,
    by_column,
    by_row,
    outer: tl.constexpr,
    inner: tl.constexpr,
    block: tl.constexpr,
    precision: tl.constexpr,
):
    """``(w, h * channels)`` to ``(h, w * channels)``."""
    x = tl.dot(
        by_column,
        factor(x, by_row.dtype, precision),
        input_precision=precision,
    )
    x = tl.reshape(factor(x, by_row.dtype, precision), (inner, outer, block))
    x = tl.reshape(tl.permute(x, (1, 0, 2)), (outer, inner * block))
    return tl.dot(by_row, x, input_precision=precision)


@triton.jit
def _inverse(
    x,
    by_column,
    by_row,
    outer: tl.constexpr,
    inner: tl.constexpr,
    block: tl.constexpr,
    precision: tl.constexpr,
):
    """``(h, w * channels)`` to ``(w, h * channels)``."""
    x = tl.dot(
        by_row, factor(x, by_row.dtype, precision), input_precision=precision
    )
    x = tl.reshape(factor(x, by_row.dtype, precision), (outer, inner, block))
    x = tl.reshape(tl.permute(x, (1, 0, 2)), (inner, outer * block))
    return tl.dot(by_column, x, input_precision=precision)


@triton.jit
def _spectrum(
    x,
    at,
    right,
    below,
    opposite,
    h_cos,
    h_sin,
    w_cos,
    w_sin,
    outer: tl.constexpr,
    inner: tl.constexpr,
    block: tl.constexpr,
    precision: tl.constexpr,
):
    """(u, v) of the rows k, and of the rows -k."""
    a, b = _load(x, at), _load(x, right)
    d, f = _load(x, below), _load(x, opposite)
    a, b, d, f = a + b, a - b, d + f, d - f
    cc = _transform(a + d, w_cos, h_cos, outer, inner, block, precision)
    ss = _transform(b - f, w_sin, h_sin, outer, inner, block, precision)
    sc = _transform(a - d, w_cos, h_sin, outer, inner, block, precision)
    cs = _transform(b + f, w_sin, h_cos, outer, inner, block, precision)
    return cc - ss, sc + cs, cc + ss, cs - sc


@triton.jit
def _store_map(
    y,
    u,
    v,
    u_minus,
    v_minus,
    at,
    right,
    below,
    opposite,
    h_cos,
    h_sin,
    w_cos,
    w_sin,
    outer: tl.constexpr,
    inner: tl.constexpr,
    block: tl.constexpr,
    precision: tl.constexpr,
):
    cc = _inverse(u + u_minus, w_cos, h_cos, outer, inner, block, precision)
    ss = _inverse(u_minus - u, w_sin, h_sin, outer, inner, block, precision)
    sc = _inverse(v - v_minus, w_cos, h_sin, outer, inner, block, precision)
    cs = _inverse(v + v_minus, w_sin, h_cos, outer, inner, block, precision)
    a, b, d, f = cc + sc, ss + cs, cc - sc, cs - ss
    dtype = y.dtype.element_ty
    tl.store(y + at, (a + b).to(dtype), mask=at >= 0)
    tl.store(y + right, (a - b).to(dtype), mask=right >= 0)
    tl.store(y + below, (d + f).to(dtype), mask=below >= 0)
    tl.store(y + opposite, (d - f).to(dtype), mask=opposite >= 0)


@triton.jit
def _filters(
    packed,
    routing,
    image,
    sign: tl.constexpr,
    num_channels,
    num_filters: tl.constexpr,
    outer: tl.constexpr,
    inner: tl.constexpr,
    block: tl.constexpr,
):
    """Filters ``(h, w * channels)`` of the rows of one sign."""
    c = tl.program_id(0) % tl.cdiv(num_channels, block) * block
    c += tl.arange(0, block)
    real, imag = filters_of(
        packed,
        routing,
        image,
        sign * outer * inner + tl.arange(0, outer * inner),
        c,
        c < num_channels,
        num_channels,
        num_filters,
        2 * outer * inner,
    )
    return (
        tl.reshape(real, (outer, inner * block)),
        tl.reshape(imag, (outer, inner * block)),
    )


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
    start = image * height * width * num_channels
    at, right, below, opposite = _places(
        height, width, num_channels, outer, inner, block
    )
    h_cos, h_sin = load_table(table, outer)
    w_cos, w_sin = load_table(second_table, inner)
    p, q, p_minus, q_minus = _spectrum(
        x + start,
        at,
        right,
        below,
        opposite,
        h_cos,
        h_sin,
        w_cos,
        w_sin,
        outer,
        inner,
        block,
        precision,
    )
    real, imag = _filters(
        packed,
        routing,
        image,
        0,
        num_channels,
        num_filters,
        outer,
        inner,
        block,
    )
    p, q = multiply(real, imag, p, q)
    real, imag = _filters(
        packed,
        routing,
        image,
        1,
        num_channels,
        num_filters,
        outer,
        inner,
        block,
    )
    p_minus, q_minus = multiply(real, imag, p_minus, q_minus)
    _store_map(
        y + start,
        p,
        q,
        p_minus,
        q_minus,
        at,
        right,
        below,
        opposite,
        h_cos,
        h_sin,
        w_cos,
        w_sin,
        outer,
        inner,
        block,
        precision,
    )


@triton.jit
def _filter_gradients(
    u,
    v,
    p,
    q,
    outer: tl.constexpr,
    inner: tl.constexpr,
    block: tl.constexpr,
):
    """Gradients ``(entries, channels)`` of the filters of one sign."""
    shape: tl.constexpr = (outer * inner, block)
    real, imag = filter_gradient(u, v, p, q)
    return tl.reshape(real, shape), tl.reshape(imag, shape)


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
    num_entries: tl.constexpr = 2 * outer * inner
    e = tl.arange(0, outer * inner)
    e_minus = outer * inner + e
    at, right, below, opposite = _places(
        height, width, num_channels, outer, inner, block
    )
    h_cos, h_sin = load_table(table, outer)
    w_cos, w_sin = load_table(second_table, inner)
    a_grad = no_sums(outer * inner, block, num_filters, num_rows)
    b_grad = no_sums(outer * inner, block, num_filters, num_rows)
    a_minus = no_sums(outer * inner, block, num_filters, num_rows)
    b_minus = no_sums(outer * inner, block, num_filters, num_rows)
    for i in range(turn, num_images, tl.num_programs(0) // blocks):
        image = tl.full((), 0, tl.int64) + i
        start = image * height * width * num_channels
        u, v, u_minus, v_minus = _spectrum(
            grad + start,
            at,
            right,
            below,
            opposite,
            h_cos,
            h_sin,
            w_cos,
            w_sin,
            outer,
            inner,
            block,
            precision,
        )
        real, imag = _filters(
            packed,
            routing,
            image,
            0,
            num_channels,
            num_filters,
            outer,
            inner,
            block,
        )
        p, q = multiply_adjoint(real, imag, u, v)
        real, imag = _filters(
            packed,
            routing,
            image,
            1,
            num_channels,
            num_filters,
            outer,
            inner,
            block,
        )
        p_minus, q_minus = multiply_adjoint(real, imag, u_minus, v_minus)
        _store_map(
            grad_x + start,
            p,
            q,
            p_minus,
            q_minus,
            at,
            right,
            below,
            opposite,
            h_cos,
            h_sin,
            w_cos,
            w_sin,
            outer,
            inner,
            block,
            precision,
        )
        p, q, p_minus, q_minus = _spectrum(
            x + start,
            at,
            right,
            below,
            opposite,
            h_cos,
            h_sin,
            w_cos,
            w_sin,
            outer,
            inner,
            block,
            precision,
        )
        real, imag = _filter_gradients(u, v, p, q, outer, inner, block)
        real_minus, imag_minus = _filter_gradients(
            u_minus, v_minus, p_minus, q_minus, outer, inner, block
        )
        if num_filters == 0:
            a_grad += real
            b_grad += imag
            a_minus += real_minus
            b_minus += imag_minus
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
                num_entries,
                False,
                h_cos.dtype,
                precision,
            )
            a_grad += a
            b_grad += b
            sums_minus, a, b = basis_gradients(
                real_minus,
                imag_minus,
                packed,
                routing,
                image,
                e_minus,
                c,
                inside,
                num_channels,
                num_filters,
                num_rows,
                num_entries,
                False,
                h_cos.dtype,
                precision,
            )
            a_minus += a
            b_minus += b
            store_routing(
                grad_routing,
                sums + sums_minus,
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
        num_entries,
    )
    store_part(
        parts,
        a_minus,
        b_minus,
        e_minus,
        c,
        inside,
        num_channels,
        num_filters,
        num_rows,
        num_entries,
    )


def _design(grid: Grid, operands: str) -> Design:
    outer, inner = (padded(size // 2 + 1) for size in grid)
    return Design(
        Order('quadrants', grid, inner, outer),
        (grid[0], 1, outer),
        second_table=(grid[1], inner),
        block=16,
        backward_block=8,
        num_warps=8,
    )


FILTER = OneKernelFilter(_design, _forward_kernel, _backward_kernel)
