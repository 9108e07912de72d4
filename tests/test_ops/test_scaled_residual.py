# Copyright (c) mmfft authors. All rights reserved.
"""Residuals by a kernel: interpreted in a process of its own, and compiled."""

import os
import subprocess
import sys

import pytest
import torch

from mmfft.layers import Residual
from mmfft.ops import dispatch, use_path


def test_without_a_kernel_it_is_the_formula(monkeypatch):
    x, branch = torch.randn(2, 5, 3), torch.randn(2, 5, 3).bfloat16()
    residual = Residual(3, scaled=True)
    torch.nn.init.normal_(residual.scale)
    expected = x * residual.scale + branch
    graph = torch.fx.symbolic_trace(residual)
    monkeypatch.setattr(dispatch, '_INTERPRETED', True)
    assert torch.equal(residual(x, branch), expected)
    assert [*Residual(3, scaled=False).state_dict()] == []
    # Kernels know neither compilers nor transforms, which need no Triton.
    with use_path('triton'):
        traced = torch.fx.symbolic_trace(residual)
        assert traced.code == graph.code
        compiled = torch.compile(residual, backend='eager', fullgraph=True)
        assert torch.equal(compiled(x, branch), expected)
        mapped = torch.func.vmap(residual)(x, branch)
        torch.testing.assert_close(mapped, expected)
        tangent = torch.func.jvp(
            lambda x: residual(x, branch), (x,), (torch.ones_like(x),)
        )[1]
        assert torch.equal(tangent, residual.scale.expand_as(x))
        double = residual.double()
        assert double(x.double(), branch).dtype == torch.float64
        assert Residual(3, scaled=False)(x, branch).equal(x + branch)


triton = pytest.importorskip('triton', reason='no Triton here')

# Triton reads the environment when its kernels are defined.
PROGRAM = """
import itertools
import random
import torch
from torch.utils.checkpoint import checkpoint
from mmfft.layers import Residual
from mmfft.ops import use_path
from mmfft.ops.kernels import scaled_residual

FORWARD = scaled_residual._forward_kernel
BACKWARD = scaled_residual._backward_kernel
calls = []
launch = scaled_residual.launch
scaled_residual.launch = lambda kernel, *args, **kwargs: (
    calls.append(kernel), launch(kernel, *args, **kwargs)
)

def layer(scale):
    residual = Residual(len(scale), scaled=True)
    residual.scale = torch.nn.Parameter(scale.clone())
    return residual

def results(path, x, branch, scale, grad):
    residual = layer(scale)
    x, branch = (t.detach().requires_grad_() for t in (x, branch))
    with use_path(path):
        y = residual(x, branch)
        y.backward(grad.to(y.dtype))
    return y.detach(), x.grad, branch.grad, residual.scale.grad

def check(x, branch, scale, grad):
    calls.clear()
    found = results('triton', x, branch, scale, grad)
    assert calls == [FORWARD, BACKWARD], calls
    again = results('triton', x, branch, scale, grad)
    assert all(map(torch.equal, found, again))
    plain = results('fft', x, branch, scale, grad)
    # The gradient is of the dtype of the result.
    inputs = (x, branch, scale, grad.to(plain[0].dtype))
    exact = results('fft', *(t.double() for t in inputs))
    for value, like, expected in zip(found, plain, exact):
        assert value.dtype == like.dtype and value.shape == like.shape
        eps = torch.finfo(value.dtype).eps
        torch.testing.assert_close(
            value.double(), expected, rtol=max(2 * eps, 1e-5), atol=2e-5
        )

def layouts(shape):
    yield torch.randn(shape)
    yield torch.randn(shape[::-1]).permute(*range(len(shape))[::-1])
    yield torch.randn(*shape[:-1], 2 * shape[-1])[..., ::2]
    yield torch.randn(shape[:-1])[..., None].expand(shape)

torch.manual_seed(0)
random.seed(0)
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
for dtypes, channels in zip(
    itertools.product(DTYPES, repeat=3), itertools.cycle((1, 3, 70, 640))
):
    shape = [random.randint(1, 9) for _ in range(random.randint(0, 3))]
    grad = torch.randn(*shape, channels)
    tensors = (grad.cos(), grad.sin(), torch.randn(channels))
    x, branch, scale = (
        tensor.to(dtype)
        for tensor, dtype in zip(tensors, dtypes)
    )
    check(x, branch, scale, grad)
for x, branch, grad in itertools.product(layouts((2, 5, 7)), repeat=3):
    check(x, branch.bfloat16(), torch.randn(7, 2)[:, 0], grad)
# More rows of tiles than programs, and none.
for points in (1, 15, 16, 17, 700, 0):
    x, branch, grad = torch.randn(3, points, 5)
    check(x, branch, torch.randn(5), grad)

x, branch, grad = torch.randn(3, 40, 5)
scale = torch.randn(5)
# A gradient of the same dtype is handed on.
assert scaled_residual.backward(grad, x, scale, grad.dtype)[1] is grad
# What is not needed is not computed.
residual = layer(scale)
residual.scale.requires_grad_(False)
calls.clear()
with use_path('triton'):
    residual(x.requires_grad_(), branch).backward(grad)
    assert calls == [FORWARD]
    torch.testing.assert_close(x.grad, grad * scale)
    # Derivatives of derivatives, and many at once, are by the formula.
    residual.scale.requires_grad_()
    y = residual(x, branch)
    first, = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    second, = torch.autograd.grad(first.sum(), residual.scale)
    expected = (4 * x * scale + 2 * branch).sum(0)
    torch.testing.assert_close(second, expected)
    leaves = [x, residual.scale]
    many = torch.autograd.grad(
        residual(x, branch), leaves, torch.stack((grad, grad.cos())),
        is_grads_batched=True,
    )
    for value, one in zip(zip(*many), (grad, grad.cos())):
        alone = torch.autograd.grad(residual(x, branch), leaves, one)
        torch.testing.assert_close(value, alone)
    # Recomputed in a checkpoint, and under autocast.
    for use_reentrant in (False, True):
        calls.clear()
        with torch.autocast('cpu', dtype=torch.bfloat16):
            y = checkpoint(residual, x, branch.bfloat16(),
                           use_reentrant=use_reentrant)
            assert y.dtype == torch.float32
            y.sum().backward()
        assert calls == [FORWARD, FORWARD, BACKWARD], calls
"""


@pytest.mark.slow
def test_equals_the_formula():
    if triton.__version__.startswith('3.0.'):
        pytest.skip('a sum in a loop is zero in the interpreter of Triton 3.0')
    subprocess.run(
        [sys.executable, '-c', PROGRAM],
        env={**os.environ, 'TRITON_INTERPRET': '1'},
        check=True,
    )


@pytest.mark.slow
@pytest.mark.skipif(
    tuple(map(int, triton.__version__.split('.')[:2])) < (3, 6),
    reason='older compilers have another interface',
)
@pytest.mark.parametrize('dtype', ['float32', 'float16', 'bfloat16'])
@pytest.mark.parametrize('stream', ['float32', 'bfloat16'])
def test_it_compiles_for_a_gpu(stream, dtype):
    """Machine code for an H100, which takes none to make."""
    from benchmarks.kernels import Start, compiled, disassembled
    from benchmarks.pretended_gpu import pretended_gpu
    from mmfft.ops.kernels import scaled_residual

    found = []

    def start(kernel, programs, *args, **kwargs):
        found.append(Start(kernel, programs, args, kwargs))

    with pretended_gpu(start):
        x = torch.empty(
            4, 14, 14, 320, device='cuda', dtype=getattr(torch, stream)
        )
        branch = x.to(getattr(torch, dtype))
        scale = torch.empty(320, device='cuda')
        y = scaled_residual.forward(x, branch, scale)
        scaled_residual.backward(y, x, scale, branch.dtype)
    for start in found:
        kernel = compiled(start)
        code = disassembled(kernel)
        assert code.local == 0  # no spills
        assert code.resident >= 8
        # 16 bytes at a time.
        ptx, ttir = kernel.asm['ptx'], kernel.asm['ttir']
        assert 'ld.global.v4.b32' in ptx and 'st.global.v4.b32' in ptx
        # Maps of 2^31 numbers and more.
        offsets = [
            line
            for line in ttir.splitlines()
            if 'addptr' in line and 'tensor<16x64x' in line
        ]
        assert offsets and all('xi64>' in line for line in offsets)
