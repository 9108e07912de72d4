# Copyright (c) mmfft authors. All rights reserved.
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..ops.dispatch import (
    is_backward_differentiated,
    is_batched_by_autograd,
    is_eager,
    takes_kernel,
)
from .torchscript import refuse_script


class SquaredReLU(nn.Module):
    """``relu(x) ** 2`` (`Primer <https://arxiv.org/abs/2109.08668>`_)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x).square()


def _inner_product(a: Tensor, b: Tensor) -> Tensor:
    """Sum of ``a * b``, in float32 at least, of shape ``(1,)``."""
    dtype = torch.promote_types(a.dtype, torch.float32)
    # On a GPU it would be a matrix product, and rounded as those are.
    if a.device.type == 'cpu' and a.dtype == b.dtype == dtype:
        return torch.tensordot(a, b, a.dim()).reshape(1)
    return (a * b).sum(dtype=dtype).reshape(1)


class _StarReLUFunction(torch.autograd.Function):
    """Keeps only its input for the backward pass.

    Autograd on the plain formula would keep the rectified and the squared
    features and walk over memory more than twice as often. Here each pass
    makes one tensor and works on it in place, or is one kernel.
    """

    @staticmethod
    def forward(ctx, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, scale)
        if takes_kernel(x):
            from ..ops.kernels import star_relu

            return star_relu.forward(x, scale, bias)
        y = F.relu(x)
        if x.dtype != torch.float16:
            return y.mul_(y).mul_(scale).add_(bias)
        # The square may be too large for float16 where the result is not.
        scaled = torch.mul(y, scale, out=torch.empty_like(y))
        return torch.addcmul(bias, y, scaled, out=y)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, scale = ctx.saved_tensors
        # In place only where nothing records or differentiates this pass, or
        # batches it.
        keeps = (
            not is_eager()
            or is_backward_differentiated()
            or is_batched_by_autograd(grad)
        )
        if not keeps and takes_kernel(x):
            from ..ops.kernels import star_relu

            return star_relu.backward(grad, x, scale)
        times = Tensor.mul if keeps else Tensor.mul_
        rectified = F.relu(x)
        if x.dtype == torch.float16:
            # Products and sums of float16 leave its range at both ends; where
            # x is -inf, it is not a factor.
            x, product = rectified, times(rectified.float(), grad)
        else:
            product = times(rectified, grad)
        grad_scale = _inner_product(product, x)
        grad_x = times(product, 2 * scale).to(grad.dtype)
        grad_bias = grad.sum(dtype=grad_scale.dtype).reshape(1)
        return grad_x, grad_scale, grad_bias


# One node in a graph of torch.fx, which looks into no autograd function.
@torch.fx.wrap
def _star_relu(x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    # A compiler fuses, and keeps what it finds cheapest.
    if is_eager():
        return _StarReLUFunction.apply(x, scale, bias)
    y = F.relu(x)
    # In this order for the range of float16, as above.
    return (scale * y * y + bias).to(x.dtype)


class StarReLU(nn.Module):
    """``scale * relu(x) ** 2 + bias`` with learnable scalars.

    From `MetaFormer Baselines for Vision
    <https://arxiv.org/abs/2210.13452>`_, starting at scale 1 and bias 0 as
    its published code does.
    """

    __prepare_scriptable__ = refuse_script

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return _star_relu(x, self.scale, self.bias)
