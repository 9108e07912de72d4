# Copyright (c) mmfft authors. All rights reserved.
"""Costs of the registered operators, for PyTorch's counter and mmengine's.

A cost takes what the operator takes, with the shape of each tensor in its
place, and the shape of the result as ``out_shape``. PyTorch's counter
(``torch.utils.flop_counter``) has the formulas as soon as it is imported; it
imports Triton, and is therefore not imported here.
"""

from collections.abc import Callable, Sequence
from math import log2, prod
from types import ModuleType
from typing import NamedTuple

import torch

from ..after_import import after_import
from . import convolution, operators  # noqa: F401  registered by them
from .spectrum import half_spectrum_shape


class Cost(NamedTuple):
    """What a call takes, before a convention turns it into FLOPs.

    Attributes:
        operations (float): Additions and multiplications, one by one.
        multiply_adds (int): Multiplications with an addition each. They are
            two FLOPs for PyTorch's counter and one for mmengine's.
    """

    operations: float = 0
    multiply_adds: int = 0


def transform_cost(shape: Sequence[int], times: int = 1) -> Cost:
    r"""Cost of real two-dimensional FFTs of each channel of each image.

    Each takes :math:`\frac{5}{2} n \log_2 n` operations for :math:`n = HW`
    points, as counted by `FFTW <https://www.fftw.org/speed/>`_.

    Args:
        shape (Sequence[int]): Shape ``(B, H, W, C)`` of the map.
        times (int): Number of transforms. Defaults to 1.

    Returns:
        Cost: Operations.
    """
    batch, rows, columns, channels = shape
    points = rows * columns
    return Cost(times * batch * channels * 2.5 * points * log2(points))


def filter_cost(shape: Sequence[int], num_filters: int = 0) -> Cost:
    """Cost of a spectral filter: two transforms and the product.

    Each entry of the half spectrum takes four multiply-adds; mixing its
    filter from a basis takes two more for each basis filter.

    Args:
        shape (Sequence[int]): Shape ``(B, H, W, C)`` of the map.
        num_filters (int): Number of basis filters; 0 for a static filter.
            Defaults to 0.

    Returns:
        Cost: Operations of the transforms, multiply-adds of the rest.
    """
    products = (4 + 2 * num_filters) * _entries(shape)
    return transform_cost(shape, 2)._replace(multiply_adds=products)


def filter_backward_cost(shape: Sequence[int], num_filters: int = 0) -> Cost:
    """Cost of the gradients of a spectral filter.

    There are three transforms: of x, of the gradient of y, and back to the
    gradient of x. Each entry takes one product for either gradient. With a
    basis it takes two multiply-adds per basis filter three times: the filter
    is mixed again, and in the gradients of routing and basis.

    Args:
        shape (Sequence[int]): Shape ``(B, H, W, C)`` of the map.
        num_filters (int): Number of basis filters; 0 for a static filter.
            Defaults to 0.

    Returns:
        Cost: Operations of the transforms, multiply-adds of the rest.
    """
    products = (8 + 6 * num_filters) * _entries(shape)
    return transform_cost(shape, 3)._replace(multiply_adds=products)


def _entries(shape: Sequence[int]) -> int:
    batch, rows, columns, channels = shape
    return batch * channels * prod(half_spectrum_shape((rows, columns)))


def _convolution(x, weight, *args, out_shape) -> Cost:
    return Cost(multiply_adds=prod(out_shape) * prod(weight[1:]))


def _convolution_backward(
    grad, x, weight, stride, padding, groups, needs, out_shape
) -> Cost:
    products = prod(grad) * prod(weight[1:])
    return Cost(multiply_adds=products * (needs[0] + needs[1]))


# By the names that the operators have in `torch.ops.mmfft`.
COSTS: dict[str, Callable[..., Cost]] = {
    'spectral_filter': lambda x, filter, out_shape: filter_cost(x),
    'spectral_filter_backward': lambda grad, x, filter, out_shape: (
        filter_backward_cost(x)
    ),
    'dynamic_spectral_filter': lambda x, routing, basis, out_shape: (
        filter_cost(x, routing[1])
    ),
    'dynamic_spectral_filter_backward': (
        lambda grad, x, routing, basis, out_shape: filter_backward_cost(
            x, routing[1]
        )
    ),
    'rfft2': lambda x, out_shape: transform_cost(x),
    'irfft2': lambda parts, columns, out_shape: transform_cost(out_shape),
    'convolution': _convolution,
    'convolution_backward': _convolution_backward,
}


def _register(flop_counter: ModuleType) -> None:
    for name, cost in COSTS.items():
        operator = getattr(torch.ops.mmfft, name)
        registered = flop_counter.register_flop_formula(operator)(
            _formula(cost)
        )
        # PyTorch 2.4 files it under an overload, where it does not look.
        flop_counter.flop_registry.setdefault(operator, registered)


def _formula(cost: Callable[..., Cost]) -> Callable[..., int]:
    def formula(*args, **kwargs) -> int:
        operations, multiply_adds = cost(*args, **kwargs)
        return round(operations) + 2 * multiply_adds

    return formula


after_import('torch.utils.flop_counter', _register)
