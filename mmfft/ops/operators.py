# Copyright (c) mmfft authors. All rights reserved.
"""The filters as operators registered with PyTorch.

Each is one node for autograd, ``torch.compile``, autocast and activation
checkpointing: none of them traces or keeps what happens inside. A backward
pass that is differentiated or transformed itself goes through plain operators
instead, which keep what they need.
"""

import torch
from torch import Tensor

from . import dft_export
from .dispatch import (
    filter_for,
    is_backward_differentiated,
    takes_plain_operators,
    transform_for,
)
from .precision import compute_dtype, without_autocast
from .spectrum import column_weights


def filter_plainly(
    x: Tensor, routing: Tensor | None, filter: Tensor
) -> Tensor:
    """A filter by PyTorch's own operators; static without a routing."""
    dtype = compute_dtype(x)
    if routing is not None:
        routing = routing.to(dtype)
    with without_autocast(x):
        y = dft_export.filter_spectrum(x.to(dtype), routing, filter.to(dtype))
    return y.to(x.dtype)


def to_spectrum(x: Tensor) -> Tensor:
    """Half spectrum ``(B, H, 2, W // 2 + 1, C)`` of ``(B, H, W, C)``."""
    return dft_export.forward(x) if takes_plain_operators() else rfft2(x)


def from_spectrum(parts: Tensor, columns: int) -> Tensor:
    """Inverse of :func:`to_spectrum`."""
    inverse = dft_export.inverse if takes_plain_operators() else irfft2
    return inverse(parts, columns)


@torch.library.custom_op('mmfft::spectral_filter', mutates_args=())
def spectral_filter(x: Tensor, filter: Tensor) -> Tensor:
    """See :func:`mmfft.ops.spectral_filter`; keeps x and filter."""
    return filter_for(x).forward(x, None, filter)


@torch.library.custom_op('mmfft::spectral_filter_backward', mutates_args=())
def spectral_filter_backward(
    grad: Tensor, x: Tensor, filter: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of x and filter."""
    path = filter_for(x)
    grad_x, _, grad_filter = path.backward(grad, x, None, filter)
    return grad_x, grad_filter


@torch.library.custom_op('mmfft::dynamic_spectral_filter', mutates_args=())
def dynamic_spectral_filter(
    x: Tensor, routing: Tensor, basis: Tensor
) -> Tensor:
    """See :func:`mmfft.ops.dynamic_spectral_filter`; keeps its arguments."""
    return filter_for(x).forward(x, routing, basis)


@torch.library.custom_op(
    'mmfft::dynamic_spectral_filter_backward', mutates_args=()
)
def dynamic_spectral_filter_backward(
    grad: Tensor, x: Tensor, routing: Tensor, basis: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, routing and basis."""
    path = filter_for(x)
    grad_x, grad_routing, grad_basis = path.backward(grad, x, routing, basis)
    assert grad_routing is not None
    return grad_x, grad_routing, grad_basis


@torch.library.custom_op('mmfft::rfft2', mutates_args=())
def rfft2(x: Tensor) -> Tensor:
    """Half spectrum ``(B, H, 2, W // 2 + 1, C)``; keeps nothing."""
    if not len(x):
        return _empty_spectrum(x)
    path = transform_for(x, x.shape[2])
    with without_autocast(x):
        return path.parts(path.forward(x), x.shape[2])


@torch.library.custom_op('mmfft::irfft2', mutates_args=())
def irfft2(parts: Tensor, columns: int) -> Tensor:
    """Inverse of :func:`rfft2`; keeps nothing."""
    if not len(parts):
        return _empty_map(parts, columns)
    path = transform_for(parts, columns)
    with without_autocast(parts):
        return path.inverse(path.from_parts(parts, columns), columns)


def _like(*tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(t.new_empty(t.shape) for t in tensors)


spectral_filter.register_fake(lambda x, filter: _like(x)[0])
spectral_filter_backward.register_fake(
    lambda grad, x, filter: _like(x, filter)
)
dynamic_spectral_filter.register_fake(lambda x, routing, basis: _like(x)[0])
dynamic_spectral_filter_backward.register_fake(
    lambda grad, x, routing, basis: _like(x, routing, basis)
)


@rfft2.register_fake
def _empty_spectrum(x):
    batch, rows, columns, channels = x.shape
    return x.new_empty(batch, rows, 2, columns // 2 + 1, channels)


@irfft2.register_fake
def _empty_map(parts, columns):
    batch, rows, _, _, channels = parts.shape
    return parts.new_empty(batch, rows, columns, channels)


def _save(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def _backward_by(operator):
    def backward(ctx, grad):
        if is_backward_differentiated():
            return _differentiable_backward(ctx, grad)
        return operator(grad, *ctx.saved_tensors)

    return backward


def _differentiable_backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
    create_graph, needed = torch.is_grad_enabled(), ctx.needs_input_grad
    with torch.enable_grad():
        # One argument may come from another: views keep to this filter.
        args = [saved.view_as(saved) for saved in ctx.saved_tensors]
        x, *routing, filter = args
        y = filter_plainly(x, routing[0] if routing else None, filter)
        wanted = [arg for arg, need in zip(args, needed) if need]
        grads = iter(
            torch.autograd.grad(y, wanted, grad, create_graph=create_graph)
        )
    return tuple(next(grads) if need else None for need in needed)


spectral_filter.register_autograd(
    _backward_by(spectral_filter_backward), setup_context=_save
)
dynamic_spectral_filter.register_autograd(
    _backward_by(dynamic_spectral_filter_backward), setup_context=_save
)


def _save_columns(ctx, inputs, output):
    ctx.columns = inputs[0].shape[2] if len(inputs) == 1 else inputs[1]


def _weights(ctx, like: Tensor) -> Tensor:
    return column_weights(ctx.columns, like)[:, None]


rfft2.register_autograd(
    lambda ctx, grad: from_spectrum(grad / _weights(ctx, grad), ctx.columns),
    setup_context=_save_columns,
)
irfft2.register_autograd(
    lambda ctx, grad: (to_spectrum(grad) * _weights(ctx, grad), None),
    setup_context=_save_columns,
)
