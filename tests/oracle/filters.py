# Copyright (c) mmfft authors. All rights reserved.
"""The spectral filters on maps ``(B, H, W, C)`` of any precision.

A half spectrum is complex, of shape ``(H, W // 2 + 1, C)``, with or without a
batch dimension.
"""

import torch
from torch import Tensor


def as_complex(pairs: Tensor) -> Tensor:
    """Convert pairs ``(..., 2)``, of any memory layout, to complex numbers."""
    return torch.complex(*pairs.unbind(-1))


def mixture(routing: Tensor, basis: Tensor) -> Tensor:
    """Mix the filter of each image from basis filters.

    Args:
        routing (Tensor): Weights of the basis filters, ``(B, N, C)``.
        basis (Tensor): Half spectra, complex ``(H, W // 2 + 1, N)``.

    Returns:
        Tensor: Half spectra, complex ``(B, H, W // 2 + 1, C)``.
    """
    return torch.einsum('bnc,hwn->bhwc', routing.to(basis.dtype), basis)


def filtered(x: Tensor, kernel: Tensor) -> Tensor:
    """Multiply the spectrum of ``x`` by a half spectrum, by the FFT.

    On a CPU, the FFT ignores the part that is not Hermitian.
    """
    spectrum = torch.fft.rfft2(x, dim=(1, 2), norm='ortho')
    return torch.fft.irfft2(
        spectrum * kernel, s=x.shape[1:3], dim=(1, 2), norm='ortho'
    )


def whole(half: Tensor, width: int) -> Tensor:
    """Complete a half spectrum to the whole one, ``(..., H, W, C)``.

    The columns that are left out follow by conjugate symmetry. Columns that
    are their own conjugates are replaced by their Hermitian part.
    """
    rows, columns = torch.arange(half.shape[-3]), torch.arange(width)
    mirrored = -columns % width
    index = torch.minimum(columns, mirrored)
    here = half[..., index, :]
    there = half[..., -rows % len(rows), :, :][..., index, :].conj()
    # 1 for the columns of the half spectrum, 0 for those left out, and 1/2
    # for those that are their own conjugates.
    share = ((mirrored - columns).sign()[:, None] + 1) / 2
    return share * here + (1 - share) * there


def dft_matrix(n: int) -> Tensor:
    """Return the matrix of the DFT of ``n`` values, in double precision."""
    k = torch.arange(n, dtype=torch.float64)
    return torch.exp(-2j * torch.pi * k[:, None] * k / n)


def filtered_without_fft(x: Tensor, kernel: Tensor) -> Tensor:
    """Compute the same product without an FFT, for ``x`` in float64."""
    h, w = x.shape[1:3]
    fh, fw = dft_matrix(h), dft_matrix(w)
    spectrum = torch.einsum('ij,bjkc,kl->bilc', fh, x.to(fh.dtype), fw)
    out = torch.einsum(
        'ij,bjkc,kl->bilc', fh.conj(), spectrum * whole(kernel, w), fw.conj()
    ) / (h * w)
    assert out.imag.abs().max() < 1e-9
    return out.real
