# Copyright (c) mmfft authors. All rights reserved.
"""Bicubic interpolation, as an operator or as matrix products."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .dispatch import takes_plain_operators
from .spectrum import Grid, whole_numbers


def interpolate_bicubic(x: Tensor, size: Grid, align_corners: bool) -> Tensor:
    """``F.interpolate(mode='bicubic')`` over the first two axes.

    In an exported graph, and under a transform of PyTorch, it is written as
    matrix products: onnxruntime's own cubic ``Resize`` takes longer than all
    the rest of a GFNet.

    Args:
        x (Tensor): Shape ``(H, W, C)``, float32 or float64.
        size (tuple[int, int]): New size ``(H', W')``.
        align_corners (bool): Same as in ``F.interpolate``.

    Returns:
        Tensor: Shape ``(H', W', C)``.
    """
    if not takes_plain_operators():
        planes = F.interpolate(
            x.permute(2, 0, 1)[None],
            size=tuple(size),
            mode='bicubic',
            align_corners=align_corners,
        )
        return planes[0].permute(1, 2, 0)
    rows, columns = (
        _taps(old, new, align_corners, x) for old, new in zip(x.shape, size)
    )
    y = rows @ x.flatten(1)
    return columns @ y.reshape(-1, *x.shape[1:])


def _taps(old: int, new: int, align_corners: bool, like: Tensor) -> Tensor:
    """Matrix ``(new, old)`` of one axis; the new size may be a symbol.

    Keys' kernel (https://doi.org/10.1109/TASSP.1981.1163711) with PyTorch's
    a = -0.75, the edges repeated.
    """
    target = whole_numbers(new, like)
    if align_corners:
        source = target * ((old - 1) / target[-1].clamp(min=1))
    else:
        source = (target + 0.5) * (old / (target[-1] + 1)) - 0.5
    first = source.floor()[:, None]
    taps = first + whole_numbers(4, like) - 1
    distance, a = (source[:, None] - taps).abs(), -0.75
    near = ((a + 2) * distance - (a + 3)) * distance.square() + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    weights = torch.where(distance <= 1, near, far)[:, :, None]
    taps = taps.clamp(0, old - 1)[:, :, None]
    return (weights * (taps == whole_numbers(old, like))).sum(1)
