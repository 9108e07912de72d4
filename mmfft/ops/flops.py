# Copyright (c) mmfft authors. All rights reserved.
"""FLOPs of the registered operators, for PyTorch's counter and mmengine's.

A formula takes what the operator takes, with the shape of each tensor in its
place, and the shape of the result as ``out_shape``. PyTorch's counter
(``torch.utils.flop_counter``) has the formulas as soon as it is imported; it
imports Triton, and is therefore not imported here.
"""

from collections.abc import Callable, Sequence
from math import log2, prod
from types import ModuleType

import torch

from ..after_import import after_import
from . import convolution, operators  # noqa: F401  registered by them
from .spectrum import half_spectrum_shape


def transform_flops(shape: Sequence[int]) -> float:
    r"""FLOPs of a real two-dimensional FFT of each channel of each image.

    :math:`\frac{5}{2} n \log_2 n` operations for :math:`n = HW` points, the
    figure by which `FFTW <https://www.fftw.org/speed/>`_ counts.

    Args:
        shape (Sequence[int]): ``(B, H, W, C)``.

    Returns:
        float: FLOPs.
    """
    batch, rows, columns, channels = shape
    points = rows * columns
    return batch * channels * 2.5 * points * log2(points)


def filter_flops(shape: Sequence[int], num_filters: int = 0) -> float:
    """FLOPs of a spectral filter: two transforms and a product.

    Each entry of the half spectrum takes four multiplications, and two more
    for each basis filter where its filter is mixed from a basis.

    Args:
        shape (Sequence[int]): ``(B, H, W, C)``.
        num_filters (int): Number of basis filters; 0 for a static filter.

    Returns:
        float: FLOPs.
    """
    return 2 * transform_flops(shape) + (4 + 2 * num_filters) * _entries(shape)


def filter_backward_flops(shape: Sequence[int], num_filters: int = 0) -> float:
    """FLOPs of the gradients of :func:`filter_flops`.

    There are three transforms, of x, of the gradient of y and back to the
    gradient of x, and two products for each entry. With a basis, each of its
    filters takes two multiplications at three places: where the filter is
    mixed again, and in the gradients of routing and basis.

    Args:
        shape (Sequence[int]): ``(B, H, W, C)``.
        num_filters (int): Number of basis filters; 0 for a static filter.

    Returns:
        float: FLOPs.
    """
    return 3 * transform_flops(shape) + (8 + 6 * num_filters) * _entries(shape)


def _entries(shape: Sequence[int]) -> int:
    batch, rows, columns, channels = shape
    return batch * channels * prod(half_spectrum_shape((rows, columns)))


def _convolution(x, weight, *args, out_shape) -> int:
    # An addition is a FLOP of its own, as in PyTorch's other convolutions.
    return 2 * prod(out_shape) * prod(weight[1:])


def _convolution_backward(
    grad, x, weight, stride, padding, groups, needs, out_shape
) -> int:
    return 2 * prod(grad) * prod(weight[1:]) * (needs[0] + needs[1])


# By the names that the operators have in `torch.ops.mmfft`.
FORMULAS: dict[str, Callable[..., float]] = {
    'spectral_filter': lambda x, filter, out_shape: filter_flops(x),
    'spectral_filter_backward': lambda grad, x, filter, out_shape: (
        filter_backward_flops(x)
    ),
    'dynamic_spectral_filter': lambda x, routing, basis, out_shape: (
        filter_flops(x, routing[1])
    ),
    'dynamic_spectral_filter_backward': (
        lambda grad, x, routing, basis, out_shape: filter_backward_flops(
            x, routing[1]
        )
    ),
    'rfft2': lambda x, out_shape: transform_flops(x),
    'irfft2': lambda parts, columns, out_shape: transform_flops(out_shape),
    'convolution': _convolution,
    'convolution_backward': _convolution_backward,
}


def _register(flop_counter: ModuleType) -> None:
    for name, formula in FORMULAS.items():
        operator = getattr(torch.ops.mmfft, name)
        registered = flop_counter.register_flop_formula(operator)(
            _rounded(formula)
        )
        # PyTorch 2.4 files it under an overload, where it does not look.
        flop_counter.flop_registry.setdefault(operator, registered)


def _rounded(formula: Callable[..., float]) -> Callable[..., int]:
    return lambda *args, **kwargs: round(formula(*args, **kwargs))


after_import('torch.utils.flop_counter', _register)
