# Copyright (c) mmfft authors. All rights reserved.
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..ops import spectral_filter
from ..ops.spectrum import Grid
from .activations import StarReLU
from .half_spectrum import HalfSpectrum
from .linear import Linear

torch.fx.wrap('spectral_filter')


class GlobalFilter(nn.Module):
    """A learned filter per channel, the mixer of GFNet.

    From `Global Filter Networks for Image Classification
    <https://arxiv.org/abs/2107.00645>`_.

    Args:
        dim (int): Channels.
        grid (int | tuple[int, int]): ``(H, W)`` that the filters are stored
            for; one number for a square.
        filter_resize (str): See :class:`HalfSpectrum`.
        boundary (str | tuple[str, str]): See :class:`HalfSpectrum`. Defaults
            to ``'circular'``.
    """

    def __init__(
        self,
        dim: int,
        grid: int | Grid,
        filter_resize: str = 'bicubic',
        boundary: str | tuple[str, str] = 'circular',
    ):
        super().__init__()
        self.filter = HalfSpectrum(grid, dim, filter_resize, boundary)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, H, W, C) -> (B, H, W, C)``."""
        return self.filter.filter_map(x, spectral_filter)


class ExpandedGlobalFilter(nn.Module):
    """A global filter between point-wise layers, the mixer of GFFormer.

    From `FFT-based Dynamic Token Mixer for Vision
    <https://arxiv.org/abs/2303.03932>`_, where it stands for the dynamic
    filter with its filters made static.

    Args:
        dim (int): Channels.
        grid (int | tuple[int, int]): ``(H, W)`` that the filters are stored
            for; one number for a square.
        expansion_ratio (float): Width of the filtered features over ``dim``.
            Defaults to 2.
        act_layer (Callable): Makes the activation. Defaults to StarReLU.
        filter_resize (str): See :class:`HalfSpectrum`.
        boundary (str | tuple[str, str]): See :class:`HalfSpectrum`. Defaults
            to ``'circular'``.
    """

    def __init__(
        self,
        dim: int,
        grid: int | Grid,
        expansion_ratio: float = 2,
        act_layer: Callable[[], nn.Module] = StarReLU,
        filter_resize: str = 'bicubic',
        boundary: str | tuple[str, str] = 'circular',
    ):
        super().__init__()
        hidden = int(expansion_ratio * dim)
        self.pwconv1 = Linear(dim, hidden, bias=False)
        self.act1 = act_layer()
        self.filter = HalfSpectrum(grid, hidden, filter_resize, boundary)
        self.pwconv2 = Linear(hidden, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, H, W, C) -> (B, H, W, C)``."""
        x = self.act1(self.pwconv1(x))
        x = self.filter.filter_map(x, spectral_filter)
        return self.pwconv2(x)
