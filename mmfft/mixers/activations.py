# Copyright (c) mmfft authors. All rights reserved.
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SquaredReLU(nn.Module):
    """``relu(x) ** 2`` (`Primer <https://arxiv.org/abs/2109.08668>`_)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x).square()


class StarReLU(nn.Module):
    """``scale * relu(x) ** 2 + bias`` with learnable scalars.

    From `MetaFormer Baselines for Vision
    <https://arxiv.org/abs/2210.13452>`_, starting at scale 1 and bias 0 as
    its published code does.
    """

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * F.relu(x).square() + self.bias
