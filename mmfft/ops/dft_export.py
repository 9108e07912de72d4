# Copyright (c) mmfft authors. All rights reserved.
"""The two-dimensional real DFT in plain operators, for exported graphs.

Matrix products with tables of cosines, which are made in the graph from the
shape of the input: it runs at any size and holds no complex tensor and no FFT
operator.

Spectra are real tensors ``(B, H, 2, W // 2 + 1, C)``, axis 2 holding real and
imaginary part: in this order every step below is one product on contiguous
memory and nothing is ever transposed.
"""

import math

import torch
from torch import Tensor

from .spectrum import column_weights, square_root, whole_numbers


def angles(rows: Tensor, columns: Tensor, size: int) -> Tensor:
    """``2 pi r c / size`` for whole numbers r and c, reduced to +-pi.

    The products of float32 are exact below 2^24, that is for sizes up to
    4096. A floating ``floor`` reduces them, since ONNX has no remainder by a
    symbolic size.
    """
    products = rows[:, None] * columns
    turns = torch.floor(products / size + 0.5)
    return (products - turns * size) * (2 * math.pi / size)


def _row_table(rows: int, like: Tensor) -> Tensor:
    """Complex DFT of the rows, ``(2H, 2H)`` on interleaved parts."""
    index = whole_numbers(rows, like)
    phases = angles(index, index, rows)
    cos, sin = phases.cos(), phases.sin()
    table = torch.stack(
        (torch.stack((cos, sin), dim=2), torch.stack((-sin, cos), dim=2)),
        dim=1,
    )
    return table.reshape(2 * rows, 2 * rows) / square_root(rows, like)


def column_table(columns: int, like: Tensor) -> Tensor:
    """Real DFT of the columns, ``(2, W // 2 + 1, W)``."""
    index = whole_numbers(columns, like)
    phases = angles(whole_numbers(columns // 2 + 1, like), index, columns)
    table = torch.stack((phases.cos(), -phases.sin()))
    return table / square_root(columns, like)


def forward(x: Tensor) -> Tensor:
    """Orthonormal ``rfft2``: ``(B, H, W, C) -> (B, H, 2, W // 2 + 1, C)``."""
    batch, rows, columns, channels = x.shape
    half = columns // 2 + 1
    table = column_table(columns, x).reshape(2 * half, columns)
    spectrum = (table @ x).reshape(batch, 2 * rows, half * channels)
    spectrum = _row_table(rows, x) @ spectrum
    return spectrum.reshape(batch, rows, 2, half, channels)


def inverse(spectrum: Tensor, columns: int) -> Tensor:
    """Inverse of :func:`forward`; only the Hermitian part acts."""
    batch, rows, _, half, channels = spectrum.shape
    x = spectrum.reshape(batch, 2 * rows, half * channels)
    x = _row_table(rows, x).T @ x
    weights = column_weights(columns, x)[:, None]
    table = (column_table(columns, x) * weights).reshape(2 * half, columns)
    return table.T @ x.reshape(batch, rows, 2 * half, channels)


def filter_spectrum(
    x: Tensor, routing: Tensor | None, filter: Tensor
) -> Tensor:
    """Filtered map; without a routing the filter is static."""
    spectrum = forward(x)
    kernel = filter.permute(0, 3, 1, 2)
    if routing is not None:
        kernel = (kernel.flatten(0, 2) @ routing).reshape(spectrum.shape)
    (a, b), (c, d) = spectrum.unbind(2), kernel.unbind(-3)
    spectrum = torch.stack((a * c - b * d, a * d + b * c), dim=2)
    return inverse(spectrum, x.shape[2])
