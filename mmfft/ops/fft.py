# Copyright (c) mmfft authors. All rights reserved.
"""The two-dimensional real DFT by the device's FFT library.

A :class:`.Transform`. Spectra are complex, of shape ``(B, C, H, W // 2 + 1)``:
FFT libraries want the axes that they transform to lie together, and everything
between two transforms is done in that order.
"""

import torch
from torch import Tensor

from .spectrum import Grid, project_hermitian


def forward(x: Tensor) -> Tensor:
    """Orthonormal ``rfft2``: ``(B, H, W, C) -> (B, C, H, W // 2 + 1)``."""
    if 0 in x.stride():
        # An expanded tensor, such as the gradient of a sum: MKL refuses it in
        # PyTorch 2.5 to 2.8 (pytorch/pytorch#154477).
        x = x.contiguous()
    return torch.fft.rfft2(x.permute(0, 3, 1, 2), norm='ortho')


def inverse(
    spectrum: Tensor, columns: int, out: Tensor | None = None
) -> Tensor:
    """Inverse of :func:`forward`; assumes that the spectrum is Hermitian."""
    grid = (spectrum.shape[2], columns)
    x = torch.fft.irfft2(spectrum, s=grid, norm='ortho').permute(0, 2, 3, 1)
    return x.contiguous() if out is None else out.copy_(x)


def pack(filter: Tensor, grid: Grid) -> Tensor:
    """Hermitian part of filters ``(H, W // 2 + 1, K, 2)`` as ``(-1, K)``."""
    filter = project_hermitian(filter, grid)
    return filter.permute(2, 0, 1, 3).flatten(1).T


def unpack(matrix: Tensor, grid: Grid) -> Tensor:
    """Inverse of :func:`pack`."""
    return matrix.unflatten(0, (grid[0], -1, 2)).permute(0, 1, 3, 2)


def _kernel(packed: Tensor, routing: Tensor | None, grid: Grid) -> Tensor:
    """Kernels as spectra; all images have the same without a routing."""
    flat = packed.T[None] if routing is None else routing.mT @ packed.T
    # Real weights on real and imaginary part: half a complex product's work.
    return torch.view_as_complex(flat.unflatten(2, (grid[0], -1, 2)))


def multiply(
    spectrum: Tensor, packed: Tensor, routing: Tensor | None, grid: Grid
) -> Tensor:
    """Spectra times their kernels."""
    return spectrum * _kernel(packed, routing, grid)


def multiply_adjoint(
    spectrum: Tensor,
    grad: Tensor,
    packed: Tensor,
    routing: Tensor | None,
    grid: Grid,
) -> tuple[Tensor, Tensor]:
    """Gradients of spectra and, as matrices, of kernels."""
    grad_kernel = spectrum.conj() * grad
    grad = _kernel(packed, routing, grid).conj() * grad
    return grad, flatten(grad_kernel)


def flatten(spectrum: Tensor) -> Tensor:
    """Spectra as matrices whose rows are those of :func:`pack`."""
    return torch.view_as_real(spectrum).flatten(2).mT


def parts(spectrum: Tensor) -> Tensor:
    """Spectra in the order of :mod:`.dft_export`."""
    return torch.view_as_real(spectrum).permute(0, 2, 4, 3, 1).contiguous()


def from_parts(parts: Tensor, columns: int) -> Tensor:
    """Inverse of :func:`parts`; keeps only the Hermitian part."""
    grid = (parts.shape[1], columns)
    spectrum = project_hermitian(parts.permute(1, 3, 0, 4, 2), grid)
    return torch.view_as_complex(spectrum.permute(2, 3, 0, 1, 4).contiguous())
