# Copyright (c) mmfft authors. All rights reserved.
from collections.abc import Callable

from torch import Tensor, nn

from .activations import StarReLU
from .convolution import convolve
from .linear import Linear


class SepConv(nn.Module):
    """Inverted separable convolution, the mixer of ConvFormer.

    From `MetaFormer Baselines for Vision
    <https://arxiv.org/abs/2210.13452>`_; CDFFormer's first two stages use it.

    Args:
        dim (int): Channels.
        expansion_ratio (float): Width of the convolved features over
            ``dim``. Defaults to 2.
        kernel_size (int): Odd size of the depth-wise kernel. Defaults to 7.
        act_layer (Callable): Makes the activation. Defaults to StarReLU.
    """

    def __init__(
        self,
        dim: int,
        expansion_ratio: float = 2,
        kernel_size: int = 7,
        act_layer: Callable[[], nn.Module] = StarReLU,
    ):
        super().__init__()
        hidden = int(expansion_ratio * dim)
        self.pwconv1 = Linear(dim, hidden, bias=False)
        self.act1 = act_layer()
        self.dwconv = nn.Conv2d(
            hidden,
            hidden,
            kernel_size,
            padding=kernel_size // 2,
            groups=hidden,
            bias=False,
        )
        self.pwconv2 = Linear(hidden, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, H, W, C) -> (B, H, W, C)``."""
        x = self.act1(self.pwconv1(x))
        # A view: channels-last is the memory format that the convolution
        # wants.
        return self.pwconv2(convolve(self.dwconv, x.permute(0, 3, 1, 2)))
