# Copyright (c) mmfft authors. All rights reserved.
"""Circular convolution in the frequency domain, static and dynamic."""

import torch
from torch import Tensor

Grid = tuple[int, int]


def half_spectrum_shape(grid: Grid) -> tuple[int, int]:
    """Rows and columns of ``rfft2`` of a real map of size ``grid``."""
    return grid[0], grid[1] // 2 + 1


def project_hermitian(filter: Tensor, grid: Grid) -> Tensor:
    """Drop the part of a half spectrum that no real kernel can have.

    The first column of a half spectrum, and for an even width the last one,
    hold each frequency together with its negative. Unless those entries are
    conjugates of each other the inverse real transform is not defined, and
    libraries disagree on it. The projection keeps what the CPU transform
    keeps.

    Args:
        filter (Tensor): Half spectrum of shape ``(H, W // 2 + 1, ..., 2)``.
        grid (tuple[int, int]): ``(H, W)``.

    Returns:
        Tensor: The Hermitian half spectrum, same shape.
    """

    def project(column: Tensor) -> Tensor:
        mirrored = column.flip(0).roll(1, 0)
        sign = column.new_tensor([1.0, -1.0])
        return (column + mirrored * sign) / 2

    columns = filter.shape[1]
    parts = [project(filter[:, :1])]
    if grid[1] % 2 == 0:
        parts += [
            filter[:, 1 : columns - 1],
            project(filter[:, columns - 1 :]),
        ]
    else:
        parts += [filter[:, 1:]]
    return torch.cat(parts, dim=1)


def _compute_dtype(x: Tensor) -> torch.dtype:
    # cuFFT knows float16 for powers of two only and nothing knows bfloat16.
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _check(x: Tensor, filter: Tensor, name: str) -> Grid:
    if x.dim() != 4:
        raise ValueError(
            f'x must have shape (B, H, W, C), got {tuple(x.shape)}'
        )
    grid = (x.shape[1], x.shape[2])
    if (
        filter.dim() != 4
        or filter.shape[:2] != half_spectrum_shape(grid)
        or filter.shape[3] != 2
    ):
        rows, columns = half_spectrum_shape(grid)
        raise ValueError(
            f'{name} must have shape ({rows}, {columns}, channels, 2) for x '
            f'of size {grid[0]}x{grid[1]}, got {tuple(filter.shape)}; use '
            'resize_filter to bring it to another grid'
        )
    return grid


def spectral_filter(x: Tensor, filter: Tensor) -> Tensor:
    r"""Circular convolution of every channel with a kernel as large as x.

    .. math:: y = \mathcal{F}^{-1}(\mathcal{F}(x) \odot K)

    with the two-dimensional real transform over height and width. This is
    the global filter of `GFNet <https://arxiv.org/abs/2107.00645>`_.

    Args:
        x (Tensor): Real tensor of shape ``(B, H, W, C)``. Half precision is
            computed in float32 and returned in its own dtype.
        filter (Tensor): Transfer function per channel, real tensor of shape
            ``(H, W // 2 + 1, C, 2)`` (real and imaginary part). Only its
            Hermitian part acts, see :func:`project_hermitian`.

    Returns:
        Tensor: Shape ``(B, H, W, C)``, dtype of ``x``.

    Raises:
        ValueError: If the shapes do not fit each other.
    """
    grid = _check(x, filter, 'filter')
    if filter.shape[2] != x.shape[3]:
        raise ValueError(
            f'filter has {filter.shape[2]} channels but x has {x.shape[3]}'
        )
    dtype = _compute_dtype(x)
    kernel = torch.view_as_complex(
        project_hermitian(filter.to(dtype), grid).contiguous()
    )
    spectrum = torch.fft.rfft2(x.to(dtype), dim=(1, 2), norm='ortho')
    y = torch.fft.irfft2(spectrum * kernel, s=grid, dim=(1, 2), norm='ortho')
    return y.to(x.dtype)


def dynamic_spectral_filter(
    x: Tensor, routing: Tensor, basis: Tensor
) -> Tensor:
    r"""Spectral filter mixed for each image and channel from a shared basis.

    .. math::
        K_{b,c} = \sum_n r_{b,n,c} \, \beta_n, \qquad
        y = \mathcal{F}^{-1}(\mathcal{F}(x) \odot K)

    This is the dynamic filter of `DFFormer
    <https://arxiv.org/abs/2303.03932>`_.

    Args:
        x (Tensor): Real tensor of shape ``(B, H, W, C)``. Half precision is
            computed in float32 and returned in its own dtype.
        routing (Tensor): Real weights of shape ``(B, N, C)``.
        basis (Tensor): Basis filters, real tensor of shape
            ``(H, W // 2 + 1, N, 2)``. Only their Hermitian part acts, see
            :func:`project_hermitian`.

    Returns:
        Tensor: Shape ``(B, H, W, C)``, dtype of ``x``.

    Raises:
        ValueError: If the shapes do not fit each other.
    """
    grid = _check(x, basis, 'basis')
    expected = (x.shape[0], basis.shape[2], x.shape[3])
    if routing.shape != expected:
        raise ValueError(
            'routing must have shape (B, N, C) = '
            f'{expected}, got {tuple(routing.shape)}'
        )
    dtype = _compute_dtype(x)
    with torch.autocast(x.device.type, enabled=False):
        basis = project_hermitian(basis.to(dtype), grid)
        # Real coefficients: mixing the parts apart needs half the products
        # of a complex mix.
        kernel = torch.complex(
            *(
                torch.einsum('bnc,hwn->bhwc', routing.to(dtype), part)
                for part in basis.unbind(-1)
            )
        )
        spectrum = torch.fft.rfft2(x.to(dtype), dim=(1, 2), norm='ortho')
        y = torch.fft.irfft2(
            spectrum * kernel, s=grid, dim=(1, 2), norm='ortho'
        )
    return y.to(x.dtype)
