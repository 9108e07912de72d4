# Copyright (c) mmfft authors. All rights reserved.
"""The spectral filters on maps ``(B, H, W, C)``, in any precision.

A half spectrum is complex, ``(H, W // 2 + 1, C)``, with or without a batch.
"""

import torch
from torch import Tensor


def as_complex(pairs: Tensor) -> Tensor:
    """Pairs of numbers ``(..., 2)``, wherever in memory, as complex ones."""
    return torch.complex(*pairs.unbind(-1))


def mixture(routing: Tensor, basis: Tensor) -> Tensor:
    """Half spectrum of each image from a basis of them.

    ``routing`` is ``(B, N, C)``, ``basis`` a complex ``(H, W // 2 + 1, N)``.
    """
    return torch.einsum('bnc,hwn->bhwc', routing.to(basis.dtype), basis)


def filtered(x: Tensor, kernel: Tensor) -> Tensor:
    """Product with a half spectrum; a CPU ignores what is not Hermitian."""
    spectrum = torch.fft.rfft2(x, dim=(1, 2), norm='ortho')
    return torch.fft.irfft2(
        spectrum * kernel, s=x.shape[1:3], dim=(1, 2), norm='ortho'
    )


def whole(half: Tensor, width: int) -> Tensor:
    """The spectrum ``(..., H, W, C)`` that a half one stands for.

    It is completed by conjugate symmetry, its self-conjugate columns by their
    Hermitian part.
    """
    rows, columns = torch.arange(half.shape[-3]), torch.arange(width)
    mirrored = -columns % width
    index = torch.minimum(columns, mirrored)
    here = half[..., index, :]
    there = half[..., -rows % len(rows), :, :][..., index, :].conj()
    # The first columns are here, the last ones there, and two are both.
    share = ((mirrored - columns).sign()[:, None] + 1) / 2
    return share * here + (1 - share) * there


def dft_matrix(n: int) -> Tensor:
    """The discrete Fourier transform of ``n`` values, in double precision."""
    k = torch.arange(n, dtype=torch.float64)
    return torch.exp(-2j * torch.pi * k[:, None] * k / n)


def filtered_without_fft(x: Tensor, kernel: Tensor) -> Tensor:
    """The same product of ``x`` in float64, by the matrices of the DFT."""
    h, w = x.shape[1:3]
    fh, fw = dft_matrix(h), dft_matrix(w)
    spectrum = torch.einsum('ij,bjkc,kl->bilc', fh, x.to(fh.dtype), fw)
    out = torch.einsum(
        'ij,bjkc,kl->bilc', fh.conj(), spectrum * whole(kernel, w), fw.conj()
    ) / (h * w)
    assert out.imag.abs().max() < 1e-9
    return out.real
