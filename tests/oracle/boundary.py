# Copyright (c) mmfft authors. All rights reserved.
"""Filtering of maps ``(B, H, W, C)`` in space, tap by tap, at any border."""

from itertools import product

import torch
from torch import Tensor

from .filters import whole


def kernel_of(half: Tensor, width: int) -> Tensor:
    """Taps of a half spectrum, real ``(H, W, C)`` in FFT order."""
    return torch.fft.ifft2(whole(half, width), dim=(-3, -2)).real


def _shifts(size: int) -> list[tuple[int, float]]:
    """Distances of the taps of an axis, and the share of each.

    The tap halfway round an even axis lies on both sides, half on each.
    """
    if size == 1:
        return [(0, 1.0)]
    half = size // 2
    return [
        (shift, 0.5 if 2 * abs(shift) == size else 1.0)
        for shift in range(-half, half + 1)
    ]


def _source(index: int, size: int, boundary: str) -> int | None:
    """Index of the point that stands at ``index`` of an endless axis."""
    if boundary == 'circular':
        return index % size
    if 0 <= index < size:
        return index
    if boundary == 'zero':
        return None
    # To and fro between the outermost points, which are not repeated.
    if size == 1:
        return 0
    index %= 2 * (size - 1)
    return min(index, 2 * (size - 1) - index)


def filtered_in_space(
    x: Tensor, kernel: Tensor, boundary: tuple[str, str]
) -> Tensor:
    """Convolve every channel with a kernel.

    Args:
        x (Tensor): Shape ``(B, H, W, C)``.
        kernel (Tensor): Taps in FFT order, ``(H, W, C)`` or
            ``(B, H, W, C)``.
        boundary (tuple[str, str]): That of the height and of the width.
    """
    size = x.shape[1:3]
    matrices = []
    for n, axis in zip(size, boundary):
        # (points, taps, points): how a tap carries points to points.
        matrix = x.new_zeros(n, n, n)
        for point, (shift, share) in product(range(n), _shifts(n)):
            source = _source(point - shift, n, axis)
            if source is not None:
                matrix[point, shift % n, source] += share
        matrices.append(matrix)
    kernel = kernel.expand(len(x), *x.shape[1:])
    return torch.einsum('ikm,jln,bklc,bmnc->bijc', *matrices, kernel, x)
