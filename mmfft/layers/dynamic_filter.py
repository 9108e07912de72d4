# Copyright (c) mmfft authors. All rights reserved.
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..errors import ConfigError, require_whole_number
from ..ops import dynamic_spectral_filter
from ..ops.spectrum import Grid
from .activations import StarReLU
from .half_spectrum import HalfSpectrum
from .linear import Linear, mlp

torch.fx.wrap('dynamic_spectral_filter')


def distance_from_uniform(routing: Tensor) -> Tensor:
    """How far routing weights are from a plain mean of the basis filters.

    Args:
        routing (Tensor): Weights of N filters, ``(B, N, channels)``, whose
            sum over the filters is 1.

    Returns:
        Tensor: Scalar, the mean over images and channels of
        ``N / (2 (N - 1)) * sum_n |w_n - 1 / N|``: 0 where every weight is
        1 / N, 1 where one of them is 1. N must be at least 2.
    """
    filters = routing.shape[1]
    distance = (routing - 1 / filters).abs().sum(dim=1).mean()
    return distance * filters / (2 * (filters - 1))


class DynamicFilter(nn.Module):
    """Filters generated from the content, the mixer of DFFormer.

    From `FFT-based Dynamic Token Mixer for Vision
    <https://arxiv.org/abs/2303.03932>`_. The mean of the input chooses, for
    each image and channel, a convex mixture of a few basis filters that all
    channels share.

    Args:
        dim (int): Channels.
        grid (int | tuple[int, int]): ``(H, W)`` that the basis is stored
            for; one number for a square.
        expansion_ratio (float): Width of the filtered features over ``dim``.
            Defaults to 2.
        num_filters (int): Basis filters. Defaults to 4.
        reweight_ratio (float): Hidden width of the routing MLP over ``dim``.
            Defaults to 0.25.
        act_layer (Callable): Makes the activation after the expansion; the
            routing MLP keeps StarReLU, as published. Defaults to StarReLU.
        filter_resize (str): See :class:`HalfSpectrum`.
        boundary (str | tuple[str, str]): See :class:`HalfSpectrum`. Defaults
            to ``'circular'``.
    """

    def __init__(
        self,
        dim: int,
        grid: int | Grid,
        expansion_ratio: float = 2,
        num_filters: int = 4,
        reweight_ratio: float = 0.25,
        act_layer: Callable[[], nn.Module] = StarReLU,
        filter_resize: str = 'bicubic',
        boundary: str | tuple[str, str] = 'circular',
    ):
        super().__init__()
        require_whole_number('num_filters', num_filters, 1)
        if not isinstance(reweight_ratio, (int, float)) or not (
            0 < reweight_ratio < math.inf
        ):
            raise ConfigError(
                'reweight_ratio must be a positive number, got '
                f'{reweight_ratio!r}'
            )
        hidden = int(expansion_ratio * dim)
        routing_hidden = int(reweight_ratio * dim)
        if routing_hidden < 1:
            raise ConfigError(
                f'reweight_ratio={reweight_ratio} of {dim} channels leaves '
                'the routing MLP no hidden unit'
            )
        self.num_filters = num_filters
        self.pwconv1 = Linear(dim, hidden, bias=False)
        self.act1 = act_layer()
        self.reweight = mlp(
            dim, routing_hidden, num_filters * hidden, StarReLU
        )
        self.basis = HalfSpectrum(grid, num_filters, filter_resize, boundary)
        self.pwconv2 = Linear(hidden, dim, bias=False)

    def routing(self, x: Tensor) -> Tensor:
        """Weights of the basis filters, ``(B, num_filters, channels)``."""
        return self.softmax_over_filters(self.reweight(x.mean(dim=(1, 2))))

    def softmax_over_filters(self, logits: Tensor) -> Tensor:
        """Output of ``reweight`` to weights, as :meth:`routing` returns."""
        channels = self.pwconv1.out_features
        logits = logits.reshape(-1, self.num_filters, channels)
        return logits.softmax(dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, H, W, C) -> (B, H, W, C)``."""
        routing = self.routing(x)
        x = self.act1(self.pwconv1(x))
        x = self.basis.filter_map(
            x, lambda x, basis: dynamic_spectral_filter(x, routing, basis)
        )
        return self.pwconv2(x)
