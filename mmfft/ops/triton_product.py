# Copyright (c) mmfft authors. All rights reserved.
"""The dynamic filter's product in one pass over the spectrum, by Triton.

The filters of the images are mixed from the basis in registers: between the
transforms each spectrum is read once and written once, and no tensor of the
size of a spectrum holds a filter. Spectra are those of :mod:`.fft`.

Not measured on a GPU yet, therefore chosen by no default (:mod:`.dispatch`).
On a CPU it runs in Triton's interpreter, to be tested.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .fft import flatten, forward, from_parts, inverse, pack, parts, unpack
from .spectrum import Grid

__all__ = [
    'forward',
    'from_parts',
    'inverse',
    'multiply',
    'multiply_adjoint',
    'pack',
    'parts',
    'unpack',
]

_BLOCK_CHANNELS = 16
_BLOCK_POINTS = 128


@triton.jit
def _block(
    routing,
    basis,
    channels,
    points,
    num_filters: tl.constexpr,
    block_channels: tl.constexpr,
    block_points: tl.constexpr,
):
    """Entries of this program, which of them exist, and their filters."""
    image = tl.program_id(2).to(tl.int64)
    channel = tl.program_id(1) * block_channels + tl.arange(0, block_channels)
    point = tl.program_id(0) * block_points + tl.arange(0, block_points)
    in_channels, in_points = channel < channels, point < points
    real = tl.zeros((block_channels, block_points), tl.float32)
    imag = tl.zeros((block_channels, block_points), tl.float32)
    for n in tl.static_range(num_filters):
        weight = tl.load(
            routing + (image * num_filters + n) * channels + channel,
            mask=in_channels,
            other=0.0,
        ).to(tl.float32)
        entry = basis + 2 * (n * points + point)
        a = tl.load(entry, mask=in_points, other=0.0)
        b = tl.load(entry + 1, mask=in_points, other=0.0)
        real += weight[:, None] * a[None, :]
        imag += weight[:, None] * b[None, :]
    entry = (image * channels + channel)[:, None] * points + point[None, :]
    inside = in_channels[:, None] & in_points[None, :]
    return 2 * entry, inside, real, imag


@triton.jit
def _multiply_kernel(
    spectrum,
    routing,
    basis,
    channels,
    points,
    num_filters: tl.constexpr,
    block_channels: tl.constexpr,
    block_points: tl.constexpr,
):
    entry, inside, c, d = _block(
        routing,
        basis,
        channels,
        points,
        num_filters,
        block_channels,
        block_points,
    )
    a = tl.load(spectrum + entry, mask=inside, other=0.0)
    b = tl.load(spectrum + entry + 1, mask=inside, other=0.0)
    tl.store(spectrum + entry, a * c - b * d, mask=inside)
    tl.store(spectrum + entry + 1, a * d + b * c, mask=inside)


@triton.jit
def _adjoint_kernel(
    spectrum,
    grad,
    routing,
    basis,
    channels,
    points,
    num_filters: tl.constexpr,
    block_channels: tl.constexpr,
    block_points: tl.constexpr,
):
    entry, inside, c, d = _block(
        routing,
        basis,
        channels,
        points,
        num_filters,
        block_channels,
        block_points,
    )
    a = tl.load(spectrum + entry, mask=inside, other=0.0)
    b = tl.load(spectrum + entry + 1, mask=inside, other=0.0)
    u = tl.load(grad + entry, mask=inside, other=0.0)
    v = tl.load(grad + entry + 1, mask=inside, other=0.0)
    tl.store(spectrum + entry, a * u + b * v, mask=inside)
    tl.store(spectrum + entry + 1, a * v - b * u, mask=inside)
    tl.store(grad + entry, c * u + d * v, mask=inside)
    tl.store(grad + entry + 1, c * v - d * u, mask=inside)


def _launch(kernel, spectra: list[Tensor], packed: Tensor, routing: Tensor):
    batch, channels, rows, columns = spectra[0].shape
    points = rows * columns
    grid = (
        triton.cdiv(points, _BLOCK_POINTS),
        triton.cdiv(channels, _BLOCK_CHANNELS),
        batch,
    )
    kernel[grid](
        *(torch.view_as_real(spectrum) for spectrum in spectra),
        routing.contiguous(),
        packed.T.contiguous(),
        channels,
        points,
        packed.shape[1],
        _BLOCK_CHANNELS,
        _BLOCK_POINTS,
    )


def multiply(
    spectrum: Tensor, packed: Tensor, routing: Tensor | None, grid: Grid
) -> Tensor:
    """Spectra times their filters.

    Args:
        spectrum (Tensor): Complex64 ``(B, C, H, W // 2 + 1)``; overwritten if
            it is contiguous.
        packed (Tensor): The basis, as :func:`.fft.pack` gives it.
        routing (Tensor): Float32 ``(B, N, C)``.
        grid (tuple[int, int]): ``(H, W)``, not needed here.

    Returns:
        Tensor: Filtered spectra.
    """
    assert routing is not None  # static filters are never dispatched here
    spectrum = spectrum.contiguous()
    _launch(_multiply_kernel, [spectrum], packed, routing)
    return spectrum


def multiply_adjoint(
    spectrum: Tensor,
    grad: Tensor,
    packed: Tensor,
    routing: Tensor | None,
    grid: Grid,
) -> tuple[Tensor, Tensor]:
    """Gradients of :func:`multiply`, of spectra and of their filters.

    Args:
        spectrum (Tensor): The spectra, as :func:`multiply` takes them.
        grad (Tensor): Spectrum of the gradient, of the same shape; both are
            overwritten if they are contiguous.
        packed (Tensor): The basis, as :func:`.fft.pack` gives it.
        routing (Tensor): Float32 ``(B, N, C)``.
        grid (tuple[int, int]): ``(H, W)``, not needed here.

    Returns:
        tuple[Tensor, Tensor]: Gradients of the spectra, of their shape, and
        of the filters, as matrices.
    """
    assert routing is not None  # static filters are never dispatched here
    spectrum, grad = spectrum.contiguous(), grad.contiguous()
    _launch(_adjoint_kernel, [spectrum, grad], packed, routing)
    return grad, flatten(spectrum)
