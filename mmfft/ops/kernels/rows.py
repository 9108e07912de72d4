# Copyright (c) mmfft authors. All rights reserved.
"""A filter on a large map as three kernels, the middle one in place.

The longer axis is transformed by a product with a table. Each line of the half
spectrum along the other axis is then held by one program, which transforms
it, multiplies it with its filter and transforms it back. The last kernel is a
product for the longer axis again. x, y and twice the half spectrum are all
that is moved, half spectra read and written two times.

Half spectra are ``(B, 2, lines, length, C)``: (u, v) of X = u - iv, the lines
along the longer axis, the ``length`` points of the shorter one.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..precision import operand_precision
from ..spectrum import Grid
from .launch import launch, num_parallel
from .one_kernel import num_filters, num_rows
from .spectra import (
    DOT_PRECISION,
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
    prepare,
    store_part,
    store_routing,
    unpack,
)

_LARGEST_EXACT = 64  # side up to which exact products are worth it
_TILE, _STEP = 64, 32  # of the products for the longer axis


def fits(grid: Grid, operands: str, capability: tuple[int, int]) -> bool:
    """Whether the shorter axis is short enough for one program.

    Exact products cost three times as much and pay on small maps only.
    """
    if operands == 'tf32x3' and max(grid) > _LARGEST_EXACT:
        return False
    return min(grid) // 2 < largest_table(operands, capability)


class _Plan(NamedTuple):
    """How a grid is worked on.

    Attributes:
        grid (tuple[int, int]): ``(H, W)``.
        operands (str): Precision of the products.
    """

    grid: Grid
    operands: str

    @property
    def along_rows(self) -> bool:
        """Whether the width is the longer axis."""
        return self.grid[1] >= self.grid[0]

    @property
    def longer(self) -> int:
        return max(self.grid)

    @property
    def length(self) -> int:
        return min(self.grid)

    @property
    def lines(self) -> int:
        return self.longer // 2 + 1

    @property
    def tile(self) -> int:
        """Lines that one program of a product holds."""
        return min(_TILE, padded(self.lines))

    @property
    def side(self) -> int:
        """Padded number of points of a line, for sums and differences."""
        return padded(self.length // 2 + 1)

    @property
    def table_side(self) -> int:
        """Padded number of lines."""
        step = max(self.tile, _STEP)
        return triton.cdiv(self.lines, step) * step

    @property
    def order(self) -> Order:
        name = 'by_column' if self.along_rows else 'by_row'
        return Order(name, self.grid, self.side, self.lines)

    @property
    def block(self) -> int:
        """Channels of a line in one program, forward."""
        block = 32 if self.side > 32 else 64
        return block // 2 if self.operands == 'tf32x3' else block

    @property
    def backward_block(self) -> int:
        """Channels of a line in one program, backward."""
        return 16 if self.side > SMALLEST_PRODUCT else self.block // 2

    @property
    def num_warps(self) -> int:
        return 8 if self.side > 32 else 4

    def strides(self, channels: int) -> tuple[int, int]:
        """Strides of a map along its longer and its shorter axis."""
        by_column, by_row = channels, self.grid[1] * channels
        return (by_column, by_row) if self.along_rows else (by_row, by_column)


@triton.jit
def _tile_of(
    num_lines,
    size,
    tile: tl.constexpr,
    block: tl.constexpr,
):
    """Image, lines and points of a program; tiles of lines come first."""
    tiles, blocks = tl.cdiv(num_lines, tile), tl.cdiv(size, block)
    program = tl.program_id(0)
    line = program % tiles * tile + tl.arange(0, tile)
    q = program // tiles % blocks * block + tl.arange(0, block)
    return (program // (tiles * blocks)).to(tl.int64), line, q


@triton.jit
def _to_lines_kernel(
    z,
    x,
    table,
    longer,
    size,
    num_channels,
    longer_stride,
    shorter_stride,
    side: tl.constexpr,
    tile: tl.constexpr,
    block: tl.constexpr,
    step: tl.constexpr,
    precision: tl.constexpr,
):
    """Transform of the longer axis; ``size`` counts the rest of a map."""
    lines = longer // 2 + 1
    image, line, q = _tile_of(lines, size, tile, block)
    x += image * longer * size
    point = x + q // num_channels * shorter_stride + q % num_channels
    u = tl.zeros((tile, block), tl.float32)
    v = tl.zeros((tile, block), tl.float32)
    for first in range(0, lines, step):
        k = first + tl.arange(0, step)
        inside = (k < lines)[:, None] & (q < size)[None, :]
        at = point[None, :] + k[:, None] * longer_stride
        a = tl.load(at, mask=inside, other=0.0).to(tl.float32)
        paired = inside & ((k > 0) & (2 * k < longer))[:, None]
        at = point[None, :] + (longer - k)[:, None] * longer_stride
        b = tl.load(at, mask=paired, other=0.0).to(tl.float32)
        at = table + line[:, None] * side + k[None, :]
        cos, sin = tl.load(at), tl.load(at + side * side)
        u = tl.dot(
            cos,
            factor(a + b, cos.dtype, precision),
            u,
            input_precision=precision,
        )
        v = tl.dot(
            sin,
            factor(a - b, cos.dtype, precision),
            v,
            input_precision=precision,
        )
    at = z + image * 2 * lines * size + line[:, None] * size + q[None, :]
    inside = (line < lines)[:, None] & (q < size)[None, :]
    tl.store(at, u.to(z.dtype.element_ty), mask=inside)
    tl.store(at + lines * size, v.to(z.dtype.element_ty), mask=inside)


@triton.jit
def _from_lines_kernel(
    y,
    z,
    table,
    longer,
    size,
    num_channels,
    longer_stride,
    shorter_stride,
    side: tl.constexpr,
    tile: tl.constexpr,
    block: tl.constexpr,
    step: tl.constexpr,
    precision: tl.constexpr,
):
    """Inverse of ``_to_lines_kernel``; weights of lines are in the filters."""
    lines = longer // 2 + 1
    image, k, q = _tile_of(lines, size, tile, block)
    z += image * 2 * lines * size
    sums = tl.zeros((tile, block), tl.float32)
    differences = tl.zeros((tile, block), tl.float32)
    for first in range(0, lines, step):
        line = first + tl.arange(0, step)
        inside = (line < lines)[:, None] & (q < size)[None, :]
        at = z + line[:, None] * size + q[None, :]
        u = tl.load(at, mask=inside, other=0.0)
        v = tl.load(at + lines * size, mask=inside, other=0.0)
        at = table + k[:, None] * side + line[None, :]
        cos, sin = tl.load(at), tl.load(at + side * side)
        # Rounded as factors when they were stored.
        sums = tl.dot(cos, u.to(cos.dtype), sums, input_precision=precision)
        differences = tl.dot(
            sin, v.to(cos.dtype), differences, input_precision=precision
        )
    y += image * longer * size
    point = y + q // num_channels * shorter_stride + q % num_channels
    inside = (k < lines)[:, None] & (q < size)[None, :]
    dtype = y.dtype.element_ty
    at = point[None, :] + k[:, None] * longer_stride
    tl.store(at, (sums + differences).to(dtype), mask=inside)
    inside &= ((k > 0) & (2 * k < longer))[:, None]
    at = point[None, :] + (longer - k)[:, None] * longer_stride
    tl.store(at, (sums - differences).to(dtype), mask=inside)


@triton.jit
def _places(length, num_channels, c, inside, inner: tl.constexpr):
    """Where the points h and -h of a line lie, -1 where there is none."""
    h = tl.arange(0, inner)[:, None]
    here = (2 * h <= length) & inside[None, :]
    there = here & (h > 0) & (2 * h < length)
    at = h * num_channels + c[None, :]
    mirror = (length - h) * num_channels + c[None, :]
    return tl.where(here, at, -1), tl.where(there, mirror, -1)


@triton.jit
def _line_spectrum(z, part, at, mirror, cos, sin, precision: tl.constexpr):
    """(u, v) of a line's non-negative frequencies, and of the negative."""
    a = tl.load(z + at, mask=at >= 0, other=0.0).to(tl.float32)
    b = tl.load(z + mirror, mask=mirror >= 0, other=0.0).to(tl.float32)
    u_cos = tl.dot(
        cos, factor(a + b, cos.dtype, precision), input_precision=precision
    )
    u_sin = tl.dot(
        sin, factor(a - b, cos.dtype, precision), input_precision=precision
    )
    z += part
    a = tl.load(z + at, mask=at >= 0, other=0.0).to(tl.float32)
    b = tl.load(z + mirror, mask=mirror >= 0, other=0.0).to(tl.float32)
    v_cos = tl.dot(
        cos, factor(a + b, cos.dtype, precision), input_precision=precision
    )
    v_sin = tl.dot(
        sin, factor(a - b, cos.dtype, precision), input_precision=precision
    )
    return u_cos - v_sin, u_sin + v_cos, u_cos + v_sin, v_cos - u_sin


@triton.jit
def _store_line(
    z,
    part,
    u,
    v,
    u_minus,
    v_minus,
    at,
    mirror,
    cos,
    sin,
    precision: tl.constexpr,
):
    dtype = z.dtype.element_ty
    a = tl.dot(
        cos,
        factor(u + u_minus, cos.dtype, precision),
        input_precision=precision,
    )
    b = tl.dot(
        sin,
        factor(v - v_minus, cos.dtype, precision),
        input_precision=precision,
    )
    tl.store(z + at, factor(a + b, dtype, precision), mask=at >= 0)
    tl.store(z + mirror, factor(a - b, dtype, precision), mask=mirror >= 0)
    z += part
    a = tl.dot(
        cos,
        factor(v + v_minus, cos.dtype, precision),
        input_precision=precision,
    )
    b = tl.dot(
        sin,
        factor(u - u_minus, cos.dtype, precision),
        input_precision=precision,
    )
    tl.store(z + at, factor(a - b, dtype, precision), mask=at >= 0)
    tl.store(z + mirror, factor(a + b, dtype, precision), mask=mirror >= 0)


@triton.jit
def _filter_kernel(
    out,
    z,
    routing,
    packed,
    table,
    lines,
    length,
    num_channels,
    num_filters: tl.constexpr,
    num_entries,
    inner: tl.constexpr,
    block: tl.constexpr,
    precision: tl.constexpr,
):
    """A line's transform, filter and transform back; ``out`` may be ``z``."""
    blocks = tl.cdiv(num_channels, block)
    image, line = (tl.program_id(0) // blocks).to(tl.int64), tl.program_id(1)
    c = tl.program_id(0) % blocks * block + tl.arange(0, block)
    inside = c < num_channels
    part = lines * length * num_channels
    start = image * 2 * part + line * length * num_channels
    at, mirror = _places(length, num_channels, c, inside, inner)
    cos, sin = load_table(table, inner)
    u, v, u_minus, v_minus = _line_spectrum(
        z + start, part, at, mirror, cos, sin, precision
    )
    e = line * 2 * inner + tl.arange(0, inner)
    real, imag = filters_of(
        packed,
        routing,
        image,
        e,
        c,
        inside,
        num_channels,
        num_filters,
        num_entries,
    )
    u, v = multiply(real, imag, u, v)
    real, imag = filters_of(
        packed,
        routing,
        image,
        e + inner,
        c,
        inside,
        num_channels,
        num_filters,
        num_entries,
    )
    u_minus, v_minus = multiply(real, imag, u_minus, v_minus)
    _store_line(
        out + start,
        part,
        u,
        v,
        u_minus,
        v_minus,
        at,
        mirror,
        cos,
        sin,
        precision,
    )


@triton.jit
def _filter_backward_kernel(
    out,
    grad_routing,
    parts,
    grad,
    z,
    routing,
    packed,
    table,
    lines,
    length,
    num_channels,
    num_images,
    num_filters: tl.constexpr,
    num_rows: tl.constexpr,
    num_entries,
    inner: tl.constexpr,
    block: tl.constexpr,
    precision: tl.constexpr,
):
    """Of ``grad`` in place; each program takes a line of some images."""
    blocks = tl.cdiv(num_channels, block)
    line = tl.program_id(1)
    c = tl.program_id(0) % blocks * block + tl.arange(0, block)
    inside = c < num_channels
    part = lines * length * num_channels
    at, mirror = _places(length, num_channels, c, inside, inner)
    cos, sin = load_table(table, inner)
    e = line * 2 * inner + tl.arange(0, inner)
    a_grad = no_sums(inner, block, num_filters, num_rows)
    b_grad = no_sums(inner, block, num_filters, num_rows)
    a_minus = no_sums(inner, block, num_filters, num_rows)
    b_minus = no_sums(inner, block, num_filters, num_rows)
    turn = tl.program_id(0) // blocks
    for i in range(turn, num_images, tl.num_programs(0) // blocks):
        image = tl.full((), 0, tl.int64) + i
        start = image * 2 * part + line * length * num_channels
        u, v, u_minus, v_minus = _line_spectrum(
            grad + start, part, at, mirror, cos, sin, precision
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
            num_entries,
        )
        p, q = multiply_adjoint(real, imag, u, v)
        real, imag = filters_of(
            packed,
            routing,
            image,
            e + inner,
            c,
            inside,
            num_channels,
            num_filters,
            num_entries,
        )
        p_minus, q_minus = multiply_adjoint(real, imag, u_minus, v_minus)
        _store_line(
            out + start,
            part,
            p,
            q,
            p_minus,
            q_minus,
            at,
            mirror,
            cos,
            sin,
            precision,
        )
        p, q, p_minus, q_minus = _line_spectrum(
            z + start, part, at, mirror, cos, sin, precision
        )
        real, imag = filter_gradient(u, v, p, q)
        p, q = filter_gradient(u_minus, v_minus, p_minus, q_minus)
        if num_filters == 0:
            a_grad += real
            b_grad += imag
            a_minus += p
            b_minus += q
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
                inner > 16,
                cos.dtype,
                precision,
            )
            a_grad += a
            b_grad += b
            sums_minus, a, b = basis_gradients(
                p,
                q,
                packed,
                routing,
                image,
                e + inner,
                c,
                inside,
                num_channels,
                num_filters,
                num_rows,
                num_entries,
                inner > 16,
                cos.dtype,
                precision,
            )
            a_minus += a
            b_minus += b
            # Of this line; PyTorch adds the lines up.
            store_routing(
                grad_routing,
                sums + sums_minus,
                image * lines + line,
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
        e + inner,
        c,
        inside,
        num_channels,
        num_filters,
        num_rows,
        num_entries,
    )


class _RowsFilter(NamedTuple):
    """A :class:`~mmfft.ops.dispatch.Filter` of these kernels."""

    def forward(
        self, x: Tensor, routing: Tensor | None, filter: Tensor
    ) -> Tensor:
        """Filtered map; without ``routing`` the filter is static."""
        plan = _plan_for(x)
        packed, table, long_table = _prepared(filter, routing, plan)
        z = _to_lines(x, long_table, plan)
        blocks = triton.cdiv(x.shape[3], plan.block)
        launch(
            _filter_kernel,
            (len(x) * blocks, plan.lines),
            z,
            z,
            None if routing is None else routing.contiguous(),
            packed,
            table,
            plan.lines,
            plan.length,
            x.shape[3],
            block=plan.block,
            **_constants(routing, plan),
        )
        return _from_lines(z, x, long_table, plan)

    def backward(
        self,
        grad: Tensor,
        x: Tensor,
        routing: Tensor | None,
        filter: Tensor,
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """Gradients of x, routing and filter."""
        plan = _plan_for(x)
        packed, table, long_table = _prepared(filter, routing, plan)
        z, grad_z = (_to_lines(t, long_table, plan) for t in (x, grad))
        block = plan.backward_block
        blocks = triton.cdiv(x.shape[3], block)
        shares = triton.cdiv(num_parallel(x.device), blocks * plan.lines)
        shares = min(len(x), shares)
        num_parts = shares * (1 if routing is None else blocks)
        parts = packed.new_empty(num_parts, *packed.shape)
        by_line = None
        if routing is not None:
            routing = routing.contiguous()
            by_line = packed.new_empty(len(x), plan.lines, *routing.shape[1:])
        launch(
            _filter_backward_kernel,
            (shares * blocks, plan.lines),
            grad_z,
            by_line,
            parts,
            grad_z,
            z,
            routing,
            packed,
            table,
            plan.lines,
            plan.length,
            x.shape[3],
            len(x),
            num_rows=num_rows(routing, plan.side > SMALLEST_PRODUCT),
            block=block,
            **_constants(routing, plan),
        )
        grad_x = _from_lines(grad_z, x, long_table, plan)
        grad_filter = unpack(parts, filter, routing is not None, plan.order)
        if routing is None or by_line is None:
            return grad_x, None, grad_filter
        return grad_x, by_line.sum(1).to(routing.dtype), grad_filter


def _plan_for(x: Tensor) -> _Plan:
    return _Plan((x.shape[1], x.shape[2]), operand_precision(x.dtype))


def _prepared(
    filter: Tensor, routing: Tensor | None, plan: _Plan
) -> tuple[Tensor, Tensor, Tensor]:
    return prepare(
        filter,
        routing is not None,
        plan.order,
        plan.operands,
        (plan.length, 1, plan.side),
        (plan.longer, plan.table_side),
    )


def _constants(routing: Tensor | None, plan: _Plan) -> dict:
    return dict(
        num_filters=num_filters(routing),
        num_entries=plan.order.num_entries,
        inner=plan.side,
        precision=DOT_PRECISION[plan.operands],
        num_warps=plan.num_warps,
    )


def _multiply_by_table(
    kernel, out: Tensor, source: Tensor, table: Tensor, plan: _Plan
) -> Tensor:
    channels = out.shape[-1]
    size = plan.length * channels
    blocks = triton.cdiv(size, _TILE) * triton.cdiv(plan.lines, plan.tile)
    launch(
        kernel,
        len(out) * blocks,
        out,
        source,
        table,
        plan.longer,
        size,
        channels,
        *plan.strides(channels),
        side=plan.table_side,
        tile=plan.tile,
        block=_TILE,
        step=_STEP,
        precision=DOT_PRECISION[plan.operands],
        num_warps=4,
        num_stages=3,
    )
    return out


def _to_lines(x: Tensor, table: Tensor, plan: _Plan) -> Tensor:
    shape = (len(x), 2, plan.lines, plan.length, x.shape[3])
    # Rounded as y is; float16 lacks the range for it.
    is_half = torch.bfloat16 in (x.dtype, table.dtype)
    dtype = torch.bfloat16 if is_half else torch.float32
    z, x = table.new_empty(shape, dtype=dtype), x.contiguous()
    return _multiply_by_table(_to_lines_kernel, z, x, table, plan)


def _from_lines(z: Tensor, x: Tensor, table: Tensor, plan: _Plan) -> Tensor:
    y = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    return _multiply_by_table(_from_lines_kernel, y, z, table, plan)


FILTER = _RowsFilter()
