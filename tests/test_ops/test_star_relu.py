# Copyright (c) mmfft authors. All rights reserved.
"""StarReLU by a kernel: interpreted in a process of its own, and compiled."""

import os
import subprocess
import sys

import pytest
import torch

from mmfft.layers import StarReLU
from mmfft.ops import dispatch, use_path
from mmfft.ops.dispatch import takes_kernel


def test_it_is_taken_only_where_it_is_forced(monkeypatch):
    x = torch.ones(3)
    with use_path('triton'):
        assert not takes_kernel(x)  # on a CPU
    monkeypatch.setattr(dispatch, '_INTERPRETED', True)
    assert not takes_kernel(x)
    with use_path('triton'):
        assert takes_kernel(x)
        assert takes_kernel(x.bfloat16())
        assert not takes_kernel(x.double())
        assert not torch.func.vmap(lambda x: x + takes_kernel(x))(0 * x).any()
        # By the formula, which needs no Triton.
        star = StarReLU()
        compiled = torch.compile(star, backend='eager', fullgraph=True)
        torch.testing.assert_close(compiled(x), x)
        assert star(x.double()).dtype == torch.float64
    with use_path('fft'):
        assert not takes_kernel(x)


triton = pytest.importorskip('triton', reason='no Triton here')

# Triton reads the environment when its kernels are defined.
PROGRAM = """
import math
import random
import torch
from torch.utils.checkpoint import checkpoint
from mmfft.layers import StarReLU
from mmfft.ops import use_path
from mmfft.ops.kernels import launch, star_relu

calls = []
launch = star_relu.launch
star_relu.launch = lambda kernel, *args, **kwargs: (
    calls.append(kernel), launch(kernel, *args, **kwargs)
)

def results(path, x, grad, scale, bias, dtype):
    star = StarReLU().to(dtype)
    torch.nn.init.constant_(star.scale, scale)
    torch.nn.init.constant_(star.bias, bias)
    x = x.detach().requires_grad_()
    with use_path(path):
        y = star(x)
        y.backward(grad)
    return y.detach(), x.grad, star.scale.grad, star.bias.grad

def check(x, grad, scale=0.75, bias=-0.5, param_dtype=torch.float32):
    calls.clear()
    found = results('triton', x, grad, scale, bias, param_dtype)
    kernels = [star_relu._forward_kernel, star_relu._backward_kernel]
    assert calls == kernels, calls
    again = results('triton', x, grad, scale, bias, param_dtype)
    assert all(map(torch.equal, found, again))
    exact = results(
        'fft', x.double(), grad.double(), scale, bias, torch.float64
    )
    for value, expected, dtype in zip(
        found, exact, (x.dtype, x.dtype, param_dtype, param_dtype)
    ):
        assert value.dtype == dtype and value.shape == expected.shape
        rtol = 2 * torch.finfo(dtype).eps
        torch.testing.assert_close(
            value.double(), expected, rtol=max(rtol, 1e-5), atol=1e-5
        )
    return found

def layouts(shape):
    yield torch.randn(shape)
    yield torch.randn(shape[::-1]).T
    wide = torch.randn(*shape[:-1], 2 * shape[-1])
    yield wide[..., ::2]
    yield wide[..., shape[-1]:]
    yield torch.randn(shape[:-1])[..., None].expand(shape)

torch.manual_seed(0)
random.seed(0)
halves = (torch.float16, torch.bfloat16)
for dtype in (torch.float32, *halves):
    for _ in range(3):
        shape = [random.randint(1, 17) for _ in range(random.randint(1, 4))]
        for x in layouts(shape):
            x = x.to(dtype)
            for grad in layouts(shape):
                check(x, grad.to(dtype))
    for size in (1, 2047, 2048, 2049, 5000):
        x = torch.randn(size).to(dtype)
        check(x, torch.ones(1, dtype=dtype).expand(size))
for dtype in halves:
    check(torch.randn(300).to(dtype), torch.rand(300).to(dtype),
          param_dtype=dtype)
check(torch.randn(0, 3), torch.randn(0, 3))

# Strides are kept where x has no gaps.
x = torch.randn(2, 4, 3, 5).contiguous(memory_format=torch.channels_last)
y, grad_x, *_ = check(x, torch.randn(2, 4, 3, 5))
assert y.stride() == grad_x.stride() == x.stride()

# The range of float16, and what a layer before may leave.
x = torch.tensor([480.0, -math.inf, 1e-3, -5.0], dtype=torch.float16)
grad = torch.tensor([250.0, 100.0, 1e-3, 1.0], dtype=torch.float16)
calls.clear()
y, grad_x, *sums = results('triton', x, grad, 0.25, 0.0, torch.float32)
exact = results(
    'fft', x.double().clamp(min=-5), grad.double(), 0.25, 0.0, torch.float64
)
for value, expected in zip((y, grad_x, *sums), exact):
    torch.testing.assert_close(
        value.double(), expected, rtol=1e-3, atol=1e-7
    )
y, *_ = results('triton', torch.tensor([math.nan]), x[:1].float(), 1, 0,
                torch.float32)
assert y.isnan().all()

# Derivatives of derivatives are by the formula.
star = StarReLU()
x = torch.randn(5, requires_grad=True)
with use_path('triton'):
    first, = torch.autograd.grad(star(x).sum(), x, create_graph=True)
    second, = torch.autograd.grad(first.sum(), x)
torch.testing.assert_close(second, 2.0 * (x > 0))
# Recomputed in a checkpoint, and under autocast.
calls.clear()
with use_path('triton'), torch.autocast('cpu', dtype=torch.bfloat16):
    y = checkpoint(star, x.bfloat16(), use_reentrant=False)
    y.sum().backward()
assert len(calls) == 3
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
@pytest.mark.parametrize('dtype', ['fp32', 'fp16', 'bf16'])
def test_it_compiles_for_a_gpu(dtype, tmp_path):
    """Machine code for an H100, which takes none to make."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from mmfft.ops.kernels import star_relu

    for kernel in (star_relu._forward_kernel, star_relu._backward_kernel):
        floats = {'scale', 'bias', 'sums'}
        signature = {
            name: 'constexpr'
            if name == 'block'
            else 'i64'
            if name == 'size'
            else 'i32'
            if name == 'programs'
            else '*fp32'
            if name in floats
            else f'*{dtype}'
            for name in kernel.arg_names
        }
        # What the just-in-time compiler notices: addresses and sizes that are
        # multiples of 16.
        aligned = {
            (i,): [['tt.divisibility', 16]]
            for i, name in enumerate(kernel.arg_names)
            if name != 'block'
        }
        code = triton.compile(
            ASTSource(
                fn=kernel,
                signature=signature,
                constexprs=dict(block=star_relu._BLOCK),
                attrs=aligned,
            ),
            target=GPUTarget('cuda', 90, 32),
            options=dict(num_warps=star_relu._NUM_WARPS),
        )
        ptx = code.asm['ptx']
        report = subprocess.run(
            [triton.knobs.nvidia.ptxas.path, '-v', '--gpu-name=sm_90a', '-'],
            input=ptx,
            capture_output=True,
            text=True,
            check=True,
            cwd=tmp_path,
        ).stderr
        assert '0 bytes spill stores, 0 bytes spill loads' in report
        # 16 bytes at a time.
        assert 'ld.global.v4.b32' in ptx and 'st.global.v4.b32' in ptx
        # Maps of 2^31 numbers and more.
        offsets = [
            line for line in code.asm['ttir'].splitlines() if 'addptr' in line
        ]
        maps = [line for line in offsets if 'tensor' in line]
        assert maps and all('xi64>' in line for line in maps)
