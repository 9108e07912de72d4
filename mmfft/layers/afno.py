# Copyright (c) mmfft authors. All rights reserved.
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import ConfigError
from ..ops import irfft2, rfft2
from ..ops.precision import without_autocast
from .activations import StarReLU
from .linear import Linear


class AFNO2D(nn.Module):
    """A block-diagonal MLP on the spectrum, between point-wise layers.

    From `Adaptive Fourier Neural Operators
    <https://arxiv.org/abs/2111.13587>`_, placed as DFFormer's ablation does.
    It has no parameter on the grid and runs at any size.

    Args:
        dim (int): Channels.
        expansion_ratio (float): Width of the mixed features over ``dim``.
            Defaults to 2.
        num_blocks (int): Blocks of the MLP; they share the expanded channels
            evenly. Defaults to 8.
        sparsity_threshold (float): Soft shrinkage of the spectrum. Defaults
            to 0.01.
        act_layer (Callable): Makes the activation after the expansion.
            Defaults to StarReLU.
    """

    def __init__(
        self,
        dim: int,
        expansion_ratio: float = 2,
        num_blocks: int = 8,
        sparsity_threshold: float = 0.01,
        act_layer: Callable[[], nn.Module] = StarReLU,
    ):
        super().__init__()
        hidden = int(expansion_ratio * dim)
        if hidden % num_blocks:
            raise ConfigError(
                f'num_blocks={num_blocks} must divide the '
                f'{hidden} expanded channels'
            )
        self.sparsity_threshold = sparsity_threshold
        block = hidden // num_blocks
        self.pwconv1 = Linear(dim, hidden, bias=False)
        self.act1 = act_layer()
        self.w1 = nn.Parameter(torch.empty(2, num_blocks, block, block))
        self.b1 = nn.Parameter(torch.empty(2, num_blocks, block))
        self.w2 = nn.Parameter(torch.empty(2, num_blocks, block, block))
        self.b2 = nn.Parameter(torch.empty(2, num_blocks, block))
        for parameter in (self.w1, self.b1, self.w2, self.b2):
            nn.init.normal_(parameter, std=0.02)
        self.pwconv2 = Linear(hidden, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, H, W, C) -> (B, H, W, C)``."""
        x = self.act1(self.pwconv1(x))
        mixed = _mix_spectrum(
            x, self.w1, self.b1, self.w2, self.b2, self.sparsity_threshold
        )
        return self.pwconv2(x + mixed)


@torch.fx.wrap
def _mix_spectrum(
    x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, threshold: float
) -> Tensor:
    real, imag = rfft2(x)
    with without_autocast(x):
        blocks = (*real.shape[:3], *b1.shape[1:])
        real, imag = _linear(
            real.reshape(blocks), imag.reshape(blocks), w1, b1
        )
        real, imag = _linear(F.relu(real), F.relu(imag), w2, b2)
        real, imag = (
            F.softshrink(part.flatten(3), threshold) for part in (real, imag)
        )
    return irfft2(real, imag, x.shape[2]).to(x.dtype)


def _linear(
    real: Tensor, imag: Tensor, weight: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor]:
    weight, bias = weight.to(real.dtype), bias.to(real.dtype)

    def apply(x, w):
        return torch.einsum('bhwki,kio->bhwko', x, w)

    return (
        apply(real, weight[0]) - apply(imag, weight[1]) + bias[0],
        apply(imag, weight[0]) + apply(real, weight[1]) + bias[1],
    )
