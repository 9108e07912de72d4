# Copyright (c) mmfft authors. All rights reserved.
"""How a filter is started that is one kernel each way."""

from collections.abc import Callable
from typing import NamedTuple

import torch
import triton
from torch import Tensor

from ..precision import operand_precision
from ..spectrum import Grid
from .launch import launch, num_parallel
from .spectra import DOT_PRECISION, Order, padded, prepare, unpack


class Design(NamedTuple):
    """How such a kernel works on a grid.

    Attributes:
        order (Order): Order of the entries.
        table (tuple[int, int, int]): See :func:`.spectra.prepare`.
        second_table (tuple[int, int]): Likewise.
        block (int): Number of channels in a program, forward.
        backward_block (int): Likewise, backward.
        num_warps (int): Number of warps of a program.
        by_products (bool): Whether gradients of routing and basis are
            products on tensor cores.
    """

    order: Order
    table: tuple[int, int, int]
    block: int
    backward_block: int
    num_warps: int
    by_products: bool = False
    second_table: tuple[int, int] = (1, 0)


class OneKernelFilter(NamedTuple):
    """A :class:`~mmfft.ops.dispatch.Filter` that is one kernel each way.

    Attributes:
        design (Callable): Returns the design for a grid and the precision of
            the products.
        forward_kernel (triton.JITFunction): Writes y.
        backward_kernel (triton.JITFunction): Writes the gradients of x and of
            the routing, and parts of that of the filters.
    """

    design: Callable[[Grid, str], Design]
    forward_kernel: Callable
    backward_kernel: Callable

    def forward(
        self, x: Tensor, routing: Tensor | None, filter: Tensor
    ) -> Tensor:
        """Filtered map; without ``routing`` the filter is static."""
        x, routing = _contiguous(x, routing)
        operands = operand_precision(x.dtype)
        design = self.design((x.shape[1], x.shape[2]), operands)
        y = torch.empty_like(x)
        launch(
            self.forward_kernel,
            len(x) * triton.cdiv(x.shape[3], design.block),
            y,
            x,
            routing,
            *_prepared(filter, routing, design, operands),
            *x.shape[1:],
            **_constants(routing, design, operands),
            block=design.block,
            num_warps=design.num_warps,
        )
        return y

    def backward(
        self,
        grad: Tensor,
        x: Tensor,
        routing: Tensor | None,
        filter: Tensor,
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """Gradients of x, routing and filter."""
        x, routing = _contiguous(x, routing)
        operands = operand_precision(x.dtype)
        design = self.design((x.shape[1], x.shape[2]), operands)
        packed, *tables = _prepared(filter, routing, design, operands)
        blocks = triton.cdiv(x.shape[3], design.backward_block)
        # Each program works on a share of the images, and writes its part of
        # a sum over them. A basis is summed over channels, too.
        shares = min(len(x), triton.cdiv(num_parallel(x.device), blocks))
        num_parts = shares * (1 if routing is None else blocks)
        parts = packed.new_empty(num_parts, *packed.shape)
        grad_x = torch.empty_like(x)
        grad_routing = None if routing is None else torch.empty_like(routing)
        launch(
            self.backward_kernel,
            shares * blocks,
            grad_x,
            grad_routing,
            parts,
            grad.contiguous(),
            x,
            routing,
            packed,
            *tables,
            *x.shape[1:],
            len(x),
            **_constants(routing, design, operands),
            num_rows=num_rows(routing, design.by_products),
            block=design.backward_block,
            num_warps=design.num_warps,
        )
        is_dynamic = routing is not None
        grad_filter = unpack(parts, filter, is_dynamic, design.order)
        return grad_x, grad_routing, grad_filter


def num_filters(routing: Tensor | None) -> int:
    """Number of basis filters, 0 for a static filter."""
    return 0 if routing is None else routing.shape[1]


def num_rows(routing: Tensor | None, by_products: bool) -> int:
    """Number of basis filters, padded; more for products of matrices."""
    count = num_filters(routing)
    return padded(count) if by_products else triton.next_power_of_2(count)


def _contiguous(
    x: Tensor, routing: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    return x.contiguous(), None if routing is None else routing.contiguous()


def _prepared(
    filter: Tensor, routing: Tensor | None, design: Design, operands: str
) -> tuple[Tensor, Tensor, Tensor]:
    return prepare(
        filter,
        routing is not None,
        design.order,
        operands,
        design.table,
        design.second_table,
    )


def _constants(routing: Tensor | None, design: Design, operands: str) -> dict:
    return dict(
        num_filters=num_filters(routing),
        outer=design.order.outer,
        inner=design.order.inner,
        precision=DOT_PRECISION[operands],
    )
