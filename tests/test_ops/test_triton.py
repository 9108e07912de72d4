# Copyright (c) mmfft authors. All rights reserved.
"""Triton's kernels: interpreted in a process of their own, and compiled."""

import os
import subprocess
import sys

import pytest

triton = pytest.importorskip('triton', reason='no Triton here')
pytestmark = pytest.mark.slow

# Triton reads the environment when its kernels are defined.
PROGRAM = """
import sys
import torch
from mmfft.ops import (
    dynamic_spectral_filter, half_spectrum_shape, triton_product, triton_whole,
    use_path,
)

path = sys.argv[1]

def results(path, tensors, grad):
    tensors = [t.clone().requires_grad_() for t in tensors]
    with use_path(path):
        y = dynamic_spectral_filter(*tensors)
        y.backward(grad)
    return [y.detach(), *(t.grad for t in tensors)]

def case(grid, channels, num_filters, batch):
    torch.manual_seed(0)
    return (
        torch.randn(batch, *grid, channels),
        torch.rand(batch, num_filters, channels),
        torch.randn(*half_spectrum_shape(grid), num_filters, 2),
    )

def check(tensors, atol, rtol):
    grad = torch.randn_like(tensors[0])
    exact = results('fft', [t.double() for t in tensors], grad.double())
    for found, tensor, expected in zip(
        results(path, tensors, grad), (tensors[0], *tensors), exact
    ):
        assert found.dtype == tensor.dtype
        torch.testing.assert_close(
            found.double(), expected, atol=atol, rtol=rtol
        )

for grid, channels, num_filters, batch in (
    ((7, 7), 24, 4, 2), ((5, 8), 3, 1, 1), ((13, 6), 17, 3, 3),
    ((1, 1), 2, 2, 1), ((20, 15), 16, 4, 1), ((32, 28), 5, 4, 2),
    ((7, 6), 3, 2, 0),
):
    check(case(grid, channels, num_filters, batch), 1e-4, 1e-5)
x, routing, basis = case((7, 9), 5, 3, 2)
check((x.bfloat16(), routing.bfloat16(), basis.bfloat16()), 0.1, 0.05)
check((x.mT.contiguous().mT, routing, basis), 1e-4, 1e-5)

calls = []
module = triton_whole if path == 'triton-whole' else triton_product
launch = module._launch
module._launch = lambda *args: calls.append(args[0]) or launch(*args)
results(path, (x, routing, basis), x)
kernels = (
    [module._forward_kernel, module._backward_kernel]
    if module is triton_whole
    else [module._multiply_kernel, module._adjoint_kernel]
)
assert calls == kernels
# What the one kernel does not take runs by the FFT.
calls.clear()
large = case((33, 4), 2, 2, 1)
results('triton-whole', large, large[0])
results('triton-whole', (x.double(), routing, basis), x.double())
assert not calls
"""


@pytest.mark.parametrize('path', ['triton', 'triton-whole'])
def test_equals_the_formula(path):
    if triton.__version__.startswith('3.0.'):
        pytest.skip('a sum in a loop is zero in the interpreter of Triton 3.0')
    subprocess.run(
        [sys.executable, '-c', PROGRAM, path],
        env={**os.environ, 'TRITON_INTERPRET': '1'},
        check=True,
    )


needs_new_compiler = pytest.mark.skipif(
    tuple(map(int, triton.__version__.split('.')[:2])) < (3, 6),
    reason='older compilers have another interface',
)


def compiled(kernel, constants):
    """Machine code for an H100, which takes none to make."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    numbers = {'channels', 'points', 'height', 'width', 'num_channels'}
    signature = {
        name: 'constexpr'
        if name in constants
        else 'i32'
        if name in numbers
        else '*fp32'
        for name in kernel.arg_names
    }
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
    target = GPUTarget('cuda', 90, 32)
    return triton.compile(source, target=target, options=dict(num_warps=8))


# The interpreter takes what no compiler would.
@needs_new_compiler
@pytest.mark.parametrize('precision', ['ieee', 'tf32x3'])
def test_one_kernel_compiles_for_a_gpu(precision):
    from mmfft.ops import triton_whole

    constants = dict(
        num_filters=4, **triton_whole.block((14, 14)), precision=precision
    )
    for kernel in (
        triton_whole._forward_kernel,
        triton_whole._backward_kernel,
    ):
        code = compiled(kernel, constants)
        # What one multiprocessor has to share.
        assert 0 < code.metadata.shared <= 227 * 1024
        # Tensor cores, unless they would not be exact.
        assert ('mma' in code.asm['ptx']) == (precision != 'ieee')


@needs_new_compiler
def test_the_product_compiles_for_a_gpu():
    from mmfft.ops import triton_product

    constants = dict(num_filters=4, block_channels=16, block_points=128)
    for kernel in (
        triton_product._multiply_kernel,
        triton_product._adjoint_kernel,
    ):
        assert compiled(kernel, constants).asm['cubin']
