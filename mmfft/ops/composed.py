# Copyright (c) mmfft authors. All rights reserved.
"""A filter as a product between two transforms, of whichever kind.

With orthonormal transforms F, column weights w (1 for the columns of the half
spectrum that stand for themselves, 2 for those that stand for their mirror
image too) and the kernel K,

    y  = F^-1(K F x)
    dx = F^-1(conj(K) F dy)
    dK = w conj(F x) F dy

since the adjoint of F is F^-1 without the weights. Of all that, only x and the
parameters are kept for the backward pass. The kernel, in a dynamic filter as
large as the spectrum of the batch, is made again. On a CPU that is done for a
few images at a time, so that it and the spectra stay in the caches, and no
tensor of the batch's size is allocated besides x, y and their gradients.
"""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from .precision import compute_dtype, without_autocast
from .spectrum import Grid, column_weights

# Elements of x (2 MiB of float32) that a CPU works on at a time: smaller
# chunks were slower on larger grids (docs/results/costs.md).
_CPU_CHUNK = 2**19


class Transform(Protocol):
    """A real two-dimensional DFT; spectra are in an order of its own.

    :mod:`.fft` and :mod:`.matmul` are such. A matrix has the entries of a half
    spectrum as its rows, real and imaginary part apart, and filters or
    channels as its columns.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Spectrum of a map ``(B, H, W, C)`` of any real dtype."""

    def inverse(
        self, spectrum: Tensor, columns: int, out: Tensor | None = None
    ) -> Tensor:
        """Map of a spectrum, into ``out`` if given; may overwrite both.

        ``out`` may be of any real dtype.
        """

    def pack(self, filter: Tensor, grid: Grid) -> Tensor:
        """Filters ``(H, W // 2 + 1, K, 2)`` as a matrix ``(-1, K)``.

        With the norm that :meth:`forward` and :meth:`inverse` leave out.
        """

    def unpack(self, matrix: Tensor, grid: Grid) -> Tensor:
        """Gradient of filters from that of what :meth:`pack` returns."""

    def multiply(
        self,
        spectrum: Tensor,
        packed: Tensor,
        routing: Tensor | None,
        grid: Grid,
    ) -> Tensor:
        """Spectrum times the kernel; may overwrite it.

        Without ``routing`` the kernel is ``packed``, with one ``(B, N, C)``
        the mixture of its N filters.
        """

    def multiply_adjoint(
        self,
        spectrum: Tensor,
        grad: Tensor,
        packed: Tensor,
        routing: Tensor | None,
        grid: Grid,
    ) -> tuple[Tensor, Tensor]:
        """Gradients of the spectrum and, as matrices, of the kernels.

        ``grad`` is the spectrum of the gradient. Both may be overwritten.
        """

    def parts(self, spectrum: Tensor, columns: int) -> Tensor:
        """Orthonormal spectrum ``(B, H, 2, W // 2 + 1, C)`` in FFT order."""

    def from_parts(self, parts: Tensor, columns: int) -> Tensor:
        """Inverse of :meth:`parts`."""


class ComposedFilter(NamedTuple):
    """The static and the dynamic filter by one kind of transform."""

    transform: Transform

    def forward(
        self, x: Tensor, routing: Tensor | None, filter: Tensor
    ) -> Tensor:
        """Filtered map; without ``routing`` the filter is static."""
        path, dtype, grid = self.transform, compute_dtype(x), _grid(x)
        y = x.new_empty(x.shape)
        with without_autocast(x):
            packed = path.pack(filter.to(dtype), grid)
            for part in _chunks(x):
                spectrum = path.forward(x[part])
                mix = None if routing is None else routing[part].to(dtype)
                spectrum = path.multiply(spectrum, packed, mix, grid)
                path.inverse(spectrum, grid[1], y[part])
        return y

    def backward(
        self,
        grad: Tensor,
        x: Tensor,
        routing: Tensor | None,
        filter: Tensor,
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """Gradients of x, routing and filter."""
        path, dtype, grid = self.transform, compute_dtype(x), _grid(x)
        grad_x, grad_routing = x.new_empty(x.shape), None
        if routing is not None:
            grad_routing = routing.new_empty(routing.shape)
        with without_autocast(x):
            filter_ = filter.to(dtype)
            weights = column_weights(grid[1], filter_)[:, None, None]
            packed = path.pack(filter_, grid)
            weighted = path.pack(filter_ * weights, grid)
            grad_packed = torch.zeros_like(packed)
            for part in _chunks(x):
                spectrum = path.forward(x[part])
                grad_spectrum = path.forward(grad[part])
                mix = None if routing is None else routing[part].to(dtype)
                grad_spectrum, grad_kernel = path.multiply_adjoint(
                    spectrum, grad_spectrum, packed, mix, grid
                )
                if mix is None or grad_routing is None:
                    grad_packed += grad_kernel.sum(0)
                else:
                    grad_packed += (grad_kernel @ mix.mT).sum(0)
                    grad_routing[part] = weighted.T @ grad_kernel
                path.inverse(grad_spectrum, grid[1], grad_x[part])
            grad_filter = path.unpack(grad_packed, grid) * weights
        return grad_x, grad_routing, grad_filter.to(filter.dtype).contiguous()


def _grid(x: Tensor) -> Grid:
    return x.shape[1], x.shape[2]


def _chunks(x: Tensor) -> Iterator[slice]:
    """Parts of the batch, to be worked on one after the other."""
    step = len(x)
    if x.device.type == 'cpu':
        step = _CPU_CHUNK // x.shape[1:].numel()
    step = max(1, step)
    return (slice(i, i + step) for i in range(0, len(x), step))
