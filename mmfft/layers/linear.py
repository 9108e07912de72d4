# Copyright (c) mmfft authors. All rights reserved.
from collections import OrderedDict
from collections.abc import Callable

from torch import Tensor, nn

from ..ops import is_linear_convolved
from .convolution import conv2d
from .torchscript import refuse_script


class Linear(nn.Linear):
    """``nn.Linear`` that takes the faster of a CPU's two libraries.

    PyTorch multiplies float32 matrices by MKL, which does not use AVX-512 on
    every processor that has it, and convolves by oneDNN, which does. A linear
    layer on a map of many points therefore runs as the convolution with a 1x1
    kernel that it is, see :func:`mmfft.ops.is_linear_convolved`. Parameters
    and, up to rounding, results are those of the parent.
    """

    __prepare_scriptable__ = refuse_script

    def forward(self, x: Tensor) -> Tensor:
        """``(..., in_features) -> (..., out_features)``."""
        if not is_linear_convolved(x):
            return super().forward(x)
        weight = self.weight[:, :, None, None]
        return conv2d(x.permute(0, 3, 1, 2), weight, self.bias)


def mlp(
    dim: int,
    hidden: int,
    out: int,
    act_layer: Callable[[], nn.Module],
    bias: bool = False,
) -> nn.Sequential:
    """Two linear layers around an activation: ``fc1``, ``act``, ``fc2``.

    Args:
        dim (int): Channels that come in.
        hidden (int): Channels between the layers.
        out (int): Channels that go out.
        act_layer (Callable): Makes the activation.
        bias (bool): Whether the layers have one. Defaults to False.

    Returns:
        nn.Sequential: ``(..., dim) -> (..., out)``.
    """
    return nn.Sequential(
        OrderedDict(
            fc1=Linear(dim, hidden, bias=bias),
            act=act_layer(),
            fc2=Linear(hidden, out, bias=bias),
        )
    )
