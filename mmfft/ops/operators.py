# Copyright (c) mmfft authors. All rights reserved.
"""The filters as operators registered with PyTorch.

Each is one node for autograd, ``torch.compile``, autocast and activation
checkpointing: what happens inside is theirs neither to trace nor to keep.
With orthonormal transforms F, column weights w (1 for the columns of the half
spectrum that stand for themselves, 2 for those that stand for their mirror
image too) and the kernel K,

    y  = F^-1(K F x)
    dx = F^-1(conj(K) F dy)
    dK = w conj(F x) F dy

since the adjoint of F is F^-1 without the weights. Of all that, backward is
left x and the parameters: the kernel, as large as the spectrum of the batch
in a dynamic filter, is made anew, image by image on a CPU, so that it and the
spectra live in its caches and no tensor of the batch's size comes up beside x,
y and their gradients. A backward pass that is differentiated or transformed
itself goes through plain operators instead, which keep what they need.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from . import dft_export, fft, matmul
from .dispatch import chosen_path, is_transformed, takes_plain_operators
from .spectrum import Grid, column_weights

_CPU_CHUNK = 2**19
_LARGEST_WHOLE = 32


def compute_dtype(x: Tensor) -> torch.dtype:
    """Float64 for such an x, else float32.

    cuFFT knows float16 for powers of two only and nothing knows bfloat16.
    """
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def without_autocast(x: Tensor) -> AbstractContextManager:
    """Leave dtypes alone; a graph without autocast does not get a switch."""
    # The meta device, on which nothing is computed, knows no autocast.
    if x.device.type != 'meta' and torch.is_autocast_enabled(x.device.type):
        return torch.autocast(x.device.type, enabled=False)
    return nullcontext()


def filter_plainly(
    x: Tensor, routing: Tensor | None, filter: Tensor
) -> Tensor:
    """The filters by PyTorch's own operators, without a routing static."""
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


def _transforms(x: Tensor, columns: int | None = None):
    path = chosen_path((x.shape[1], columns or x.shape[2]), x.device)
    return matmul if path == 'matmul' else fft


def _multiply(
    path, spectrum: Tensor, packed: Tensor, routing: Tensor | None, grid: Grid
) -> Tensor:
    """Spectra times the kernels."""
    if _is_fused(spectrum, routing, grid):
        from . import triton_product

        return triton_product.multiply(spectrum, packed, routing)
    return path.product(spectrum, path.kernel(packed, routing, grid))


def _multiply_adjoint(
    path,
    spectrum: Tensor,
    grad: Tensor,
    packed: Tensor,
    routing: Tensor | None,
    grid: Grid,
) -> tuple[Tensor, Tensor]:
    """Gradients of the spectra and, as matrices, of the kernels."""
    if _is_fused(spectrum, routing, grid):
        from . import triton_product

        grad, grad_kernel = triton_product.multiply_adjoint(
            spectrum, grad, packed, routing
        )
    else:
        grad_kernel = path.product(spectrum, grad, conjugate=True)
        kernel = path.kernel(packed, routing, grid)
        grad = path.product(kernel, grad, conjugate=True)
    return grad, path.flatten(grad_kernel)


def _is_fused(spectrum: Tensor, routing: Tensor | None, grid: Grid) -> bool:
    return (
        routing is not None
        and spectrum.dtype == torch.complex64
        and chosen_path(grid, spectrum.device) == 'triton'
    )


def _is_whole(x: Tensor) -> bool:
    """Whether one kernel does all of a dynamic filter."""
    grid = x.shape[1:3]
    return (
        compute_dtype(x) == torch.float32
        and max(grid) <= _LARGEST_WHOLE
        and chosen_path(grid, x.device) == 'triton-whole'
    )


def _chunks(x: Tensor) -> Iterator[slice]:
    """Images to work on at a time."""
    step = len(x)
    if x.device.type == 'cpu':
        step = _CPU_CHUNK // x.shape[1:].numel()
    step = max(1, step)
    return (slice(i, i + step) for i in range(0, len(x), step))


def _filter(x: Tensor, routing: Tensor | None, filter: Tensor) -> Tensor:
    dtype, grid, path = compute_dtype(x), x.shape[1:3], _transforms(x)
    y = _like(x)[0]
    with without_autocast(x):
        packed = path.pack(filter.to(dtype), grid)
        for part in _chunks(x):
            spectrum = path.forward(x[part].to(dtype))
            mix = _part(routing, part, dtype)
            spectrum = _multiply(path, spectrum, packed, mix, grid)
            _write(path, spectrum, y[part])
    return y


def _filter_backward(
    grad: Tensor, x: Tensor, routing: Tensor | None, filter: Tensor
) -> tuple[Tensor, Tensor | None, Tensor]:
    dtype, grid, path = compute_dtype(x), x.shape[1:3], _transforms(x)
    grad_x = _like(x)[0]
    grad_routing = (
        None if routing is None else routing.new_empty(routing.shape)
    )
    with without_autocast(x):
        filter_ = filter.to(dtype)
        weights = column_weights(grid[1], filter_)[:, None, None]
        packed = path.pack(filter_, grid)
        weighted = path.pack(filter_ * weights, grid)
        grad_packed = torch.zeros_like(packed)
        for part in _chunks(x):
            mix = _part(routing, part, dtype)
            spectrum = path.forward(x[part].to(dtype))
            grad_spectrum = path.forward(grad[part].to(dtype))
            grad_spectrum, grad_kernel = _multiply_adjoint(
                path, spectrum, grad_spectrum, packed, mix, grid
            )
            if routing is None:
                grad_packed += grad_kernel.sum(0)
            else:
                grad_packed.addbmm_(grad_kernel, mix.mT)
                grad_routing[part] = weighted.T @ grad_kernel
            _write(path, grad_spectrum, grad_x[part])
        grad_filter = path.unpack(grad_packed, grid) * weights
    return grad_x, grad_routing, grad_filter.to(filter.dtype).contiguous()


def _part(
    routing: Tensor | None, part: slice, dtype: torch.dtype
) -> Tensor | None:
    return None if routing is None else routing[part].to(dtype)


def _write(path, spectrum: Tensor, out: Tensor) -> None:
    if out.dtype == compute_dtype(out):
        path.inverse(spectrum, out.shape[2], out)
    else:
        out.copy_(path.inverse(spectrum, out.shape[2]))


@torch.library.custom_op('mmfft::spectral_filter', mutates_args=())
def spectral_filter(x: Tensor, filter: Tensor) -> Tensor:
    """See :func:`mmfft.ops.spectral_filter`; keeps x and filter."""
    return _filter(x, None, filter)


@torch.library.custom_op('mmfft::spectral_filter_backward', mutates_args=())
def spectral_filter_backward(
    grad: Tensor, x: Tensor, filter: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of x and filter."""
    grad_x, _, grad_filter = _filter_backward(grad, x, None, filter)
    return grad_x, grad_filter


@torch.library.custom_op('mmfft::dynamic_spectral_filter', mutates_args=())
def dynamic_spectral_filter(
    x: Tensor, routing: Tensor, basis: Tensor
) -> Tensor:
    """See :func:`mmfft.ops.dynamic_spectral_filter`; keeps its arguments."""
    if _is_whole(x):
        from . import triton_whole

        return triton_whole.forward(x, routing, basis)
    return _filter(x, routing, basis)


@torch.library.custom_op(
    'mmfft::dynamic_spectral_filter_backward', mutates_args=()
)
def dynamic_spectral_filter_backward(
    grad: Tensor, x: Tensor, routing: Tensor, basis: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, routing and basis."""
    if _is_whole(x):
        from . import triton_whole

        return triton_whole.backward(grad, x, routing, basis)
    return _filter_backward(grad, x, routing, basis)


@torch.library.custom_op('mmfft::rfft2', mutates_args=())
def rfft2(x: Tensor) -> Tensor:
    """Half spectrum ``(B, H, 2, W // 2 + 1, C)``; keeps nothing."""
    path = _transforms(x)
    if not len(x):
        return _empty_spectrum(x)
    with without_autocast(x):
        return path.parts(path.forward(x))


@torch.library.custom_op('mmfft::irfft2', mutates_args=())
def irfft2(parts: Tensor, columns: int) -> Tensor:
    """Inverse of :func:`rfft2`; keeps nothing."""
    if not len(parts):
        return _empty_map(parts, columns)
    path = _transforms(parts, columns)
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
        if torch.is_grad_enabled() or is_transformed():
            return _differentiable_backward(ctx, grad)
        return operator(grad, *ctx.saved_tensors)

    return backward


def _differentiable_backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
    create_graph, needed = torch.is_grad_enabled(), ctx.needs_input_grad
    with torch.enable_grad():
        # One argument may come from another: views keep to the filter alone.
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
