# Copyright (c) mmfft authors. All rights reserved.
"""A convolution that the compiler does not look into.

Where a graph holds a convolution, Inductor (torch 2.11) takes every tensor of
four axes before it for ``(B, C, H, W)`` and wants it channels-last. It would
thus transpose all features that are kept for the backward pass, which are
``(B, H, W, C)`` here, and it fails on them where the size is a symbol.
"""

from typing import Sequence  # noqa: UP035, for PyTorch before 2.7

import torch
import torch.nn.functional as F
from torch import Tensor

# Whether torch.compile(fullgraph=True) takes sizes of which nothing is known.
HAS_FREE_SIZES = torch.__version__ >= '2.10'


@torch.library.custom_op('mmfft::convolution', mutates_args=())
def conv2d_to_channels_last(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    groups: int,
) -> Tensor:
    """``F.conv2d`` of ``(B, C, H, W)`` to contiguous ``(B, H', W', C')``."""
    y = F.conv2d(x, weight, bias, stride, padding, groups=groups)
    return y.permute(0, 2, 3, 1).contiguous()


@torch.library.custom_op('mmfft::convolution_backward', mutates_args=())
def _conv2d_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    groups: int,
    needs: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, weight and bias, empty where they are not needed."""
    grads = torch.ops.aten.convolution_backward(
        grad.permute(0, 3, 1, 2),
        x,
        weight,
        (weight.shape[0],),
        stride,
        padding,
        (1, 1),
        False,
        (0, 0),
        groups,
        needs,
    )
    outs = _empty_grads(grad, x, weight, needs)
    of_x, of_weight, of_bias = map(_laid_out, outs, grads, needs)
    return of_x, of_weight, of_bias


def _laid_out(out: Tensor, value: Tensor, needed: bool) -> Tensor:
    """``value``, with the strides of ``out``; ``out`` where not needed."""
    if not needed or value.stride() == out.stride():
        return value if needed else out
    return out.copy_(value)


def _empty_grads(
    grad: Tensor, x: Tensor, weight: Tensor, needs: Sequence[bool]
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        torch.empty_like(x) if needs[0] else x.new_empty(0),
        weight.new_empty(weight.shape if needs[1] else (0,)),
        grad.new_empty(weight.shape[0] if needs[2] else 0),
    )


@conv2d_to_channels_last.register_fake
def _(x, weight, bias, stride, padding, groups):
    # Where the size of an image is a symbol, that of its features becomes a
    # new one, except for kernels of size 1, which keep it: formulas nested
    # over four stages take long to reason about and need a graph for each
    # stage whose own grid a size meets. Older compilers take nothing else. As
    # everywhere in the compiler, the symbol stands for sizes from 2 up.
    sizes = [
        (size + 2 * pad - kernel) // step + 1
        if isinstance(size, int) or kernel == step == 1 or not HAS_FREE_SIZES
        else torch.library.get_ctx().new_dynamic_size(min=2)
        for size, pad, kernel, step in zip(
            x.shape[2:], padding, weight.shape[2:], stride
        )
    ]
    return x.new_empty(x.shape[0], *sizes, weight.shape[0])


@_conv2d_backward.register_fake
def _(grad, x, weight, stride, padding, groups, needs):
    return _empty_grads(grad, x, weight, needs)


def _save(ctx, inputs, output):
    x, weight, bias, *ctx.options = inputs
    ctx.save_for_backward(x, weight)


def _backward(ctx, grad):
    needs = list(ctx.needs_input_grad[:3])
    grads = _conv2d_backward(grad, *ctx.saved_tensors, *ctx.options, needs)
    grads = (g if needed else None for g, needed in zip(grads, needs))
    return (*grads, None, None, None)


conv2d_to_channels_last.register_autograd(_backward, setup_context=_save)
