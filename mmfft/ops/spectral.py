# Copyright (c) mmfft authors. All rights reserved.
"""Circular convolution in the frequency domain, static and dynamic."""

import torch
from torch import Tensor

from . import operators
from .dispatch import takes_plain_operators
from .operators import filter_plainly, from_spectrum, to_spectrum
from .precision import compute_dtype, without_autocast
from .spectrum import Grid, half_spectrum_shape, is_static


def require_real(name: str, tensor: Tensor) -> None:
    """See that an argument is a tensor of floating-point numbers.

    Args:
        name (str): Name of the argument, used in the message.
        tensor (Tensor): Value of the argument.

    Raises:
        TypeError: If it is anything else.
    """
    if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
        what = getattr(tensor, 'dtype', type(tensor).__name__)
        raise TypeError(
            f'{name} must be a tensor of real floating-point numbers, got '
            f'{what}'
        )


def _check_map(x: Tensor, name: str = 'x', sizes: str = 'H, W') -> None:
    require_real(name, x)
    # No condition is put on sizes that are symbols.
    if x.dim() != 4 or (is_static(x.shape) and 0 in x.shape[1:]):
        raise ValueError(
            f'{name} must have shape (B, {sizes}, C), where only B may be 0, '
            f'got {tuple(x.shape)}'
        )


def _check(x: Tensor, filter: Tensor, name: str) -> Grid:
    _check_map(x)
    require_real(name, filter)
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
        TypeError: If an argument is not a floating-point tensor.
        ValueError: If the shapes do not fit each other.
    """
    _check(x, filter, 'filter')
    if filter.shape[2] != x.shape[3]:
        raise ValueError(
            f'filter has {filter.shape[2]} channels but x has {x.shape[3]}'
        )
    if takes_plain_operators():
        return filter_plainly(x, None, filter)
    return operators.spectral_filter(x, filter)


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
        TypeError: If an argument is not a floating-point tensor.
        ValueError: If the shapes do not fit each other.
    """
    _check(x, basis, 'basis')
    require_real('routing', routing)
    expected = (x.shape[0], basis.shape[2], x.shape[3])
    if routing.shape != expected:
        raise ValueError(
            'routing must have shape (B, N, C) = '
            f'{expected}, got {tuple(routing.shape)}'
        )
    if takes_plain_operators():
        return filter_plainly(x, routing, basis)
    return operators.dynamic_spectral_filter(x, routing, basis)


def rfft2(x: Tensor) -> tuple[Tensor, Tensor]:
    """Half spectrum of every channel, in real numbers.

    Args:
        x (Tensor): Real tensor of shape ``(B, H, W, C)``.

    Returns:
        tuple[Tensor, Tensor]: Real and imaginary part of
        ``torch.fft.rfft2(x, dim=(1, 2), norm='ortho')``, each of shape
        ``(B, H, W // 2 + 1, C)``, in float32 or, for such an x, float64.

    Raises:
        TypeError: If x is not a floating-point tensor.
        ValueError: If x has another number of axes or is empty.
    """
    _check_map(x)
    x = x.to(compute_dtype(x))
    with without_autocast(x):
        real, imag = to_spectrum(x).unbind(2)
    return real, imag


def irfft2(real: Tensor, imag: Tensor, columns: int) -> Tensor:
    """Inverse of :func:`rfft2`.

    Args:
        real (Tensor): Real part, shape ``(B, H, columns // 2 + 1, C)``.
        imag (Tensor): Imaginary part. Only the Hermitian part acts, see
            :func:`project_hermitian`.
        columns (int): Width of the result.

    Returns:
        Tensor: Shape ``(B, H, columns, C)``, float32 or, for such parts,
        float64.

    Raises:
        TypeError: If a part is not a floating-point tensor.
        ValueError: If the shapes do not fit each other and ``columns``.
    """
    _check_map(real, 'real', 'H, columns // 2 + 1')
    require_real('imag', imag)
    if imag.shape != real.shape:
        raise ValueError(
            f'imag must have the shape of real, {tuple(real.shape)}, got '
            f'{tuple(imag.shape)}'
        )
    if isinstance(columns, int) and (
        columns < 1 or real.shape[2] != columns // 2 + 1
    ):
        raise ValueError(
            f'columns={columns} does not fit a half spectrum of '
            f'{real.shape[2]} columns'
        )
    dtype = compute_dtype(real)
    parts = torch.stack((real.to(dtype), imag.to(dtype)), dim=2)
    with without_autocast(parts):
        return from_spectrum(parts, columns)
