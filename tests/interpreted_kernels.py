# Copyright (c) mmfft authors. All rights reserved.
"""The kernels of filters in Triton's interpreter, against the formula.

A program of its own, since Triton reads TRITON_INTERPRET when its kernels are
defined. It takes the name of a path. ``exact`` takes the factors of products
as they are, as the interpreter does; ``rounded`` rounds them as tensor cores
would, and prints the largest error of each precision.
"""

import json
import random
import sys

import numpy as np
import torch
import triton.language as tl
from oracle.filters import as_complex, filtered, mixture
from triton.runtime import interpreter

from mmfft.ops import (
    chosen_path,
    dynamic_spectral_filter,
    half_spectrum_shape,
    spectral_filter,
    use_path,
)

CPU = torch.device('cpu')
GRIDS = {
    'pairs': [(1, 1), (1, 2), (7, 7), (14, 14), (2, 40), (15, 17), (13, 6)],
    'quadrants': [(16, 16), (28, 28), (31, 31), (25, 30), (17, 31), (18, 3)],
    'rows': [(1, 70), (36, 13), (33, 4), (12, 35)],
}
ROUNDED = dict(pairs=(11, 11), quadrants=(28, 28), rows=(56, 56))
# By torch.set_float32_matmul_precision: docs/results/costs.md states what they
# bound.
BOUNDS = dict(highest=1e-6, high=1e-3, medium=8e-3)


def case(grid, channels, num_filters, batch, dtype=torch.float32):
    """x, routing and basis; without ``num_filters`` x and filters."""
    x = torch.randn(batch, *grid, channels).to(dtype)
    filters = torch.randn(
        *half_spectrum_shape(grid), num_filters or channels, 2
    )
    if not num_filters:
        return x, filters
    return x, torch.randn(batch, num_filters, channels), filters


def results(tensors, grad):
    tensors = [t.clone().requires_grad_() for t in tensors]
    operator = (
        spectral_filter if len(tensors) == 2 else dynamic_spectral_filter
    )
    y = operator(*tensors)
    return [y.detach(), *torch.autograd.grad(y, tensors, grad)]


def exact_results(tensors, grad):
    x, *routing, filters = (t.double().requires_grad_() for t in tensors)
    if len(x):
        kernel = as_complex(filters)
        y = filtered(x, mixture(*routing, kernel) if routing else kernel)
    else:  # PyTorch's FFT refuses it
        y = x * filters.sum() + sum(r.sum() for r in routing)
    leaves = [x, *routing, filters]
    return [y.detach(), *torch.autograd.grad(y, leaves, grad.double())]


def check(path, tensors, bound):
    """Largest error of y and gradients, relative in the norm."""
    x = tensors[0]
    grad = torch.randn(x.shape).to(x.dtype)
    with use_path(path):
        assert chosen_path(x.shape[1:3], CPU, x.dtype) == path, x.shape
        found = results(tensors, grad)
    worst = 0.0
    for ours, theirs, like in zip(
        found, exact_results(tensors, grad), (x, *tensors)
    ):
        assert ours.dtype == like.dtype and ours.shape == like.shape
        # Numbers of half precision round the results, too.
        rounding = (
            0
            if ours.dtype == torch.float32
            else 2 * torch.finfo(ours.dtype).eps
        )
        error = (ours.double() - theirs).norm() / theirs.norm().clamp(min=1e-9)
        shape = tuple(x.shape)
        assert error <= bound + rounding, (path, shape, x.dtype, error)
        worst = max(worst, error.item())
    return worst


def exact(path):
    random.seed(path)
    torch.manual_seed(0)
    # Static and dynamic filters, whole and half precision in turns.
    for turn, grid in enumerate(GRIDS[path] + GRIDS[path][:1]):
        halves = random.sample((torch.float16, torch.bfloat16), 1)
        for dtype, is_dynamic in ((torch.float32, turn), (*halves, turn + 1)):
            num_filters = is_dynamic % 2 and random.randint(1, 5)
            # On a large map each channel takes the interpreter its time, and
            # each image even more.
            most = (10, 2) if path == 'rows' else (40, 3)
            channels, batch = (random.randint(1, n) for n in most)
            tensors = case(grid, channels, num_filters, batch)
            tensors = [t.to(dtype) for t in tensors]
            with use_path(path):
                is_taken = chosen_path(grid, CPU, dtype) == path
            if is_taken or dtype != torch.float32:
                check(path, tensors, 1e-6)
    grid = GRIDS[path][2]
    for num_filters in (0, 3):
        x, *rest = case(grid, 5, num_filters, 2)
        check(path, (x.mT.contiguous().mT, *rest), 1e-6)
        # Programs work on several images, if there are many.
        x, *rest = case(grid, 3, num_filters, 6)
        check(path, (x[:1].expand(6, -1, -1, -1), *rest), 1e-6)
        nothing = case(grid, 5, num_filters, 0)
        with use_path(path):
            found = results(nothing, nothing[0])
        assert not any(t.any() for t in found)


def cut_to_tf32(x, half=0):
    """Ten bits of fraction, the others cut off, as tensor cores do."""
    bits = np.ascontiguousarray(x).view(np.uint32) + np.uint32(half)
    return (bits & np.uint32(0xFFFFE000)).view(np.float32)


def to_tf32(x):
    """Ten bits of fraction, rounded to the nearest, as Triton does."""
    return cut_to_tf32(x, half=0x1000)


def to_bfloat16(x):
    """As the interpreter holds it, an integer; rounded to the nearest."""
    bits = np.ascontiguousarray(x).view(np.uint32)
    bits = bits + 0x7FFF + (bits >> 16 & 1)
    return (bits >> 16).astype(np.uint16)


def rounded_product(builder, a, b, d, input_precision, _):
    """What replaces the product of the interpreter."""
    if a.dtype.scalar == tl.bfloat16:
        a, b = (
            (t.data.astype(np.uint32) << 16).view(np.float32) for t in (a, b)
        )
        product = a @ b
    else:
        a, b = a.data, b.data
        if input_precision.name == 'TF32x3':
            high_a, high_b = to_tf32(a), to_tf32(b)
            low_a, low_b = (cut_to_tf32(x) for x in (a - high_a, b - high_b))
            product = high_a @ high_b + high_a @ low_b + low_a @ high_b
        else:
            # Triton leaves the rounding of these to us.
            assert input_precision.name == 'TF32', input_precision
            product = cut_to_tf32(a) @ cut_to_tf32(b)
    return interpreter.TensorHandle(product + d.data, d.dtype.scalar)


cast = interpreter.InterpreterBuilder.cast_impl


def rounded_cast(builder, source, target):
    """What replaces the cast of the interpreter, which cuts bits off."""
    if target.scalar == tl.bfloat16 and source.dtype.scalar == tl.float32:
        data = to_bfloat16(source.data)
        return interpreter.TensorHandle(data, target.scalar)
    return cast(builder, source, target)


def rounded(path):
    torch.manual_seed(0)
    interpreter.InterpreterBuilder.create_dot = rounded_product
    interpreter.InterpreterBuilder.cast_impl = rounded_cast
    errors = {}
    for setting, bound in BOUNDS.items():
        torch.set_float32_matmul_precision(setting)
        errors[setting] = max(
            check(path, case(ROUNDED[path], 16, num_filters, 1), bound)
            for num_filters in (0, 4)
        )
    print(json.dumps(errors))


if __name__ == '__main__':
    (path,) = sys.argv[1:]
    exact(path)
    rounded(path)
