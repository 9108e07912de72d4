# Copyright (c) mmfft authors. All rights reserved.
import torch
from torch import Tensor, nn

from ..ops.dispatch import (
    is_backward_differentiated,
    is_batched_by_autograd,
    takes_kernel,
)


class _ScaledResidualFunction(torch.autograd.Function):
    """The residual by a kernel, where there is one."""

    @staticmethod
    def forward(ctx, x: Tensor, branch: Tensor, scale: Tensor) -> Tensor:
        from ..ops.kernels import scaled_residual

        ctx.save_for_backward(x, scale)
        ctx.branch_dtype = branch.dtype
        return scaled_residual.forward(x, branch, scale)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, scale = ctx.saved_tensors
        needs_x, _, needs_scale = ctx.needs_input_grad
        if (
            needs_x
            and needs_scale
            and not is_backward_differentiated()
            and not is_batched_by_autograd(grad)
            and takes_kernel(grad)
        ):
            from ..ops.kernels import scaled_residual

            return scaled_residual.backward(grad, x, scale, ctx.branch_dtype)
        return (
            grad * scale if needs_x else None,
            grad,
            # Autograd sums it over all points.
            grad * x if needs_scale else None,
        )


class Residual(nn.Module):
    """``x + branch``, or ``x * scale + branch`` with a learnable scale.

    Args:
        dim (int): Channels, the last axis.
        scaled (bool): Whether there is a factor per channel, starting at 1.
    """

    def __init__(self, dim: int, scaled: bool):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(dim)) if scaled else None

    def forward(self, x: Tensor, branch: Tensor) -> Tensor:
        scale = self.scale
        if scale is None:
            return x + branch
        if takes_kernel(x) and takes_kernel(branch) and takes_kernel(scale):
            return _ScaledResidualFunction.apply(x, branch, scale)
        return x * scale + branch
