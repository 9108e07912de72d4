# Copyright (c) mmfft authors. All rights reserved.
"""The two-dimensional real DFT by the device's FFT library.

A :class:`.Transform`. Spectra are complex, of shape ``(B, C, H, W // 2 + 1)``:
FFT libraries want the axes that they transform to lie together, and everything
between two transforms is done in that order.
"""

import torch
from torch import Tensor

from .precision import compute_dtype
from .spectrum import Grid, project_hermitian


def forward(x: Tensor) -> Tensor:
    """``rfft2`` without a norm: ``(B, H, W, C) -> (B, C, H, W // 2 + 1)``."""
    planes, dtype = x.permute(0, 3, 1, 2), compute_dtype(x)
    if x.dtype != dtype:
        # In the order that the FFT would copy them into.
        planes = planes.to(dtype, memory_format=torch.contiguous_format)
    elif 0 in x.stride():
        # An expanded tensor, such as the gradient of a sum: MKL refuses it in
        # PyTorch 2.5 to 2.8 (pytorch/pytorch#154477).
        planes = planes.contiguous()
    return torch.fft.rfft2(planes)


def inverse(
    spectrum: Tensor, columns: int, out: Tensor | None = None
) -> Tensor:
    """``irfft2`` without a norm; assumes that the spectrum is Hermitian."""
    grid = (spectrum.shape[2], columns)
    x = torch.fft.irfft2(spectrum, s=grid, norm='forward').permute(0, 2, 3, 1)
    return x.contiguous() if out is None else out.copy_(x)


def pack(filter: Tensor, grid: Grid) -> Tensor:
    """Hermitian part of filters ``(H, W // 2 + 1, K, 2)`` as ``(-1, K)``.

    Divided by the number of points, which is the norm of both transforms:
    cuFFT would take a pass over each spectrum and map for it.
    """
    filter = project_hermitian(filter, grid) / (grid[0] * grid[1])
    return filter.permute(2, 0, 1, 3).flatten(1).T


def unpack(matrix: Tensor, grid: Grid) -> Tensor:
    """Gradient of filters from that of what :func:`pack` returns."""
    filter = matrix.unflatten(0, (grid[0], -1, 2)).permute(0, 1, 3, 2)
    return filter / (grid[0] * grid[1])


def _kernel(packed: Tensor, routing: Tensor | None, grid: Grid) -> Tensor:
    """Kernels as spectra; all images have the same without a routing."""
    flat = packed.T[None] if routing is None else routing.mT @ packed.T
    # Real weights on real and imaginary part: half a complex product's work.
    return torch.view_as_complex(flat.unflatten(2, (grid[0], -1, 2)))


def multiply(
    spectrum: Tensor, packed: Tensor, routing: Tensor | None, grid: Grid
) -> Tensor:
    """Spectra times their kernels."""
    return spectrum.mul_(_kernel(packed, routing, grid))


def multiply_adjoint(
    spectrum: Tensor,
    grad: Tensor,
    packed: Tensor,
    routing: Tensor | None,
    grid: Grid,
) -> tuple[Tensor, Tensor]:
    """Gradients of spectra and, as matrices, of kernels."""
    # A product with a lazy conjugate would write it to new memory first. Of
    # the kernels it is taken where they are small.
    grad_kernel = spectrum.conj_physical_().mul_(grad)
    real, imag = packed.T.unflatten(1, (-1, 2)).unbind(2)
    conjugate = torch.stack((real, -imag), dim=2).flatten(1).T
    grad = grad.mul_(_kernel(conjugate, routing, grid))
    return grad, torch.view_as_real(grad_kernel).flatten(2).mT


def parts(spectrum: Tensor, columns: int) -> Tensor:
    """Spectra in the order and with the norm of :mod:`.dft_export`."""
    parts = torch.view_as_real(spectrum).permute(0, 2, 4, 3, 1)
    scale = (spectrum.shape[2] * columns) ** -0.5
    return torch.mul(parts, scale, out=parts.new_empty(parts.shape))


def from_parts(parts: Tensor, columns: int) -> Tensor:
    """Inverse of :func:`parts`; keeps only the Hermitian part."""
    grid = (parts.shape[1], columns)
    spectrum = project_hermitian(parts.permute(1, 3, 0, 4, 2), grid)
    spectrum = spectrum.permute(2, 3, 0, 1, 4)
    scale = (grid[0] * columns) ** -0.5
    scaled = torch.mul(spectrum, scale, out=spectrum.new_empty(spectrum.shape))
    return torch.view_as_complex(scaled)
