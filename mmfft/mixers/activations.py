# Copyright (c) mmfft authors. All rights reserved.
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SquaredReLU(nn.Module):
    """``relu(x) ** 2`` (`Primer <https://arxiv.org/abs/2109.08668>`_)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x).square()


class _StarReLUFunction(torch.autograd.Function):
    """Keeps its input alone for the backward pass.

    Autograd on the plain formula would keep the rectified and the squared
    features and walk over memory twice as often.
    """

    @staticmethod
    def forward(ctx, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, scale)
        return torch.addcmul(bias, F.relu(x).square_(), scale)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, scale = ctx.saved_tensors
        relu = F.relu(x)
        product = grad * relu
        return (
            product * (2 * scale),
            (product * relu).sum().reshape(1),
            grad.sum().reshape(1),
        )


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
        return _StarReLUFunction.apply(x, self.scale, self.bias)
