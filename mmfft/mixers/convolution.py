# Copyright (c) mmfft authors. All rights reserved.
import torch
from torch import Tensor, nn

from ..ops import convolution


def convolve(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """``conv(x)`` with the channels last, however the graph is run.

    Args:
        conv (nn.Conv2d): Without dilation, zero-padded.
        x (Tensor): Shape ``(B, C, H, W)``, of any memory format.

    Returns:
        Tensor: Shape ``(B, H', W', C')``.
    """
    if not torch.compiler.is_dynamo_compiling():
        return conv(x).permute(0, 2, 3, 1)
    tensors = [x, conv.weight, conv.bias]
    if torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
        tensors = [t if t is None else t.to(dtype) for t in tensors]
    return convolution(*tensors, conv.stride, conv.padding, conv.groups)
