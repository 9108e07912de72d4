# Copyright (c) mmfft authors. All rights reserved.
"""The fused kernels in Triton's interpreter, in a process of their own."""

import os
import subprocess
import sys

import pytest

# Triton reads the environment when its kernels are defined.
PROGRAM = """
import torch
from mmfft.ops import dynamic_spectral_filter, half_spectrum_shape, use_path

def results(path, tensors, grad):
    tensors = [t.clone().requires_grad_() for t in tensors]
    with use_path(path):
        y = dynamic_spectral_filter(*tensors)
        y.backward(grad)
    return [y.detach(), *(t.grad for t in tensors)]

torch.manual_seed(0)
for grid, channels, num_filters, batch in (
    ((7, 7), 24, 4, 2), ((5, 8), 3, 1, 1), ((13, 6), 17, 3, 3),
    ((1, 1), 2, 2, 1), ((20, 15), 16, 4, 1),
):
    tensors = (
        torch.randn(batch, *grid, channels),
        torch.rand(batch, num_filters, channels),
        torch.randn(*half_spectrum_shape(grid), num_filters, 2),
    )
    grad = torch.randn_like(tensors[0])
    exact = results('fft', [t.double() for t in tensors], grad.double())
    for found, expected in zip(results('triton', tensors, grad), exact):
        torch.testing.assert_close(
            found.double(), expected, atol=1e-4, rtol=1e-5
        )
from mmfft.ops import fused
calls = []
launch = fused._launch
fused._launch = lambda *args: calls.append(args[0]) or launch(*args)
results('triton', tensors, grad)
assert calls == [fused._multiply_kernel, fused._adjoint_kernel]
"""


@pytest.mark.slow
def test_equals_the_formula():
    triton = pytest.importorskip('triton', reason='no Triton here')
    if triton.__version__.startswith('3.0.'):
        pytest.skip('a sum in a loop is zero in the interpreter of Triton 3.0')
    subprocess.run(
        [sys.executable, '-c', PROGRAM],
        env={**os.environ, 'TRITON_INTERPRET': '1'},
        check=True,
    )
