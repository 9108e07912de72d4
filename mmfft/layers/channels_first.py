# Copyright (c) mmfft authors. All rights reserved.
"""Mixers for networks whose maps are ``(B, C, H, W)``."""

import torch
from torch import Tensor, nn

from ..ops.dispatch import is_transformed
from ..ops.spectrum import Grid
from .dynamic_filter import DynamicFilter
from .global_filter import GlobalFilter


class _ChannelsFirst(nn.Module):
    """Mixin, put before the class of a mixer: takes and returns NCHW.

    The memory format is kept: channels-last maps are read without a copy, and
    the output is channels-last too.
    """

    def __init__(self, dim: int, grid: int | Grid = 14, *args, **kwargs):
        super().__init__(dim, grid, *args, **kwargs)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W) -> (B, C, H, W)``."""
        y = super().forward(_channels_last(x))
        return _laid_out_like(x, y.permute(0, 3, 1, 2))


@torch.fx.wrap
def _channels_last(x: Tensor) -> Tensor:
    if x.dim() != 4:
        raise ValueError(
            f'x must have shape (B, C, H, W), got {tuple(x.shape)}'
        )
    return x.permute(0, 2, 3, 1)


@torch.fx.wrap
def _laid_out_like(x: Tensor, y: Tensor) -> Tensor:
    last = torch.channels_last
    # Under vmap a tensor cannot be asked for its memory format.
    keeps = is_transformed() or (
        x.is_contiguous(memory_format=last) and not x.is_contiguous()
    )
    return y if keeps else y.contiguous()


class GlobalFilter2d(_ChannelsFirst, GlobalFilter):
    """:class:`GlobalFilter`, the mixer of GFNet, for maps ``(B, C, H, W)``.

    Args:
        dim (int): Channels.
        grid (int | tuple[int, int]): ``(H, W)`` that the filters are stored
            for, ideally those of the maps in training; on any other map the
            filters are resized. Defaults to 14.
        filter_resize (str): See :class:`HalfSpectrum`.
        boundary (str | tuple[str, str]): See :class:`HalfSpectrum`. Defaults
            to ``'circular'``.

    Raises:
        ConfigError: If an argument is out of its range.
    """


class DynamicFilter2d(_ChannelsFirst, DynamicFilter):
    """:class:`DynamicFilter`, the mixer of DFFormer, for ``(B, C, H, W)``.

    Args:
        dim (int): Channels.
        grid (int | tuple[int, int]): ``(H, W)`` that the filters are stored
            for, ideally those of the maps in training; on any other map the
            filters are resized. Defaults to 14.
        expansion_ratio (float): Width of the filtered features over ``dim``.
            Defaults to 2.
        num_filters (int): Basis filters. Defaults to 4.
        reweight_ratio (float): Hidden width of the routing MLP over ``dim``.
            Defaults to 0.25.
        act_layer (Callable): Makes the activation after the expansion.
            Defaults to StarReLU.
        filter_resize (str): See :class:`HalfSpectrum`.
        boundary (str | tuple[str, str]): See :class:`HalfSpectrum`. Defaults
            to ``'circular'``.

    Raises:
        ConfigError: If an argument is out of its range.
    """
