# Copyright (c) mmfft authors. All rights reserved.
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..ops import conv2d_to_channels_last
from ..ops.dispatch import is_convolution_hidden


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: tuple[int, ...] = (1, 1),
    padding: tuple[int, ...] = (0, 0),
    groups: int = 1,
) -> Tensor:
    """``F.conv2d`` to channels-last maps, in eager mode and compiled.

    Args:
        x (Tensor): Shape ``(B, C, H, W)``, of any memory format.
        weight (Tensor): Shape ``(C', C / groups, h, w)``.
        bias (Tensor, optional): Shape ``(C',)``.
        stride (tuple[int, int]): Same as in ``F.conv2d``.
        padding (tuple[int, int]): Number of zeros, same as in ``F.conv2d``.
        groups (int): Same as in ``F.conv2d``.

    Returns:
        Tensor: Shape ``(B, H', W', C')``.
    """
    if not is_convolution_hidden():
        y = F.conv2d(x, weight, bias, stride, padding, groups=groups)
        return y.permute(0, 2, 3, 1)
    tensors = [x, weight, bias]
    if torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
        tensors = [t if t is None else t.to(dtype) for t in tensors]
    return conv2d_to_channels_last(*tensors, stride, padding, groups)


def convolve(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """``conv(x)`` to channels-last maps, see ``conv2d``.

    Args:
        conv (nn.Conv2d): A convolution without dilation, whose padding is a
            number of zeros.
        x (Tensor): Shape ``(B, C, H, W)``, of any memory format.

    Returns:
        Tensor: Shape ``(B, H', W', C')``.
    """
    if not is_convolution_hidden():
        return conv(x).permute(0, 2, 3, 1)
    assert not isinstance(conv.padding, str)
    return conv2d(
        x, conv.weight, conv.bias, conv.stride, conv.padding, conv.groups
    )
