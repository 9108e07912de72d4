# Copyright (c) mmfft authors. All rights reserved.
"""What a filter would start on a GPU, seen without one."""

from contextlib import nullcontext

import pytest
import torch
from device_only import HAS_FAKE_CUDA, device_only
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.pretended_gpu import pretended_gpu
from mmfft.ops import KERNEL_PATHS, half_spectrum_shape, matmul, use_path
from mmfft.ops.dispatch import filter_for

pytestmark = pytest.mark.skipif(
    not HAS_FAKE_CUDA, reason='PyTorch before 2.8 needs a driver for it'
)
GRID, CHANNELS, BATCH = (14, 13), 64, 32
LARGE = BATCH * CHANNELS * 7 * 13  # half of a map
PATHS = ('fft', 'matmul', *KERNEL_PATHS)


class _Passes(TorchDispatchMode):
    """Notes each operator that walks over as much as a map, views left out."""

    def __init__(self):
        super().__init__()
        self.names, self.args = [], []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        sizes = [t.numel() for t in tree_leaves(out) if torch.is_tensor(t)]
        name = func._schema.name.removeprefix('aten::')
        skipped = ('empty', 'new_', '_unsafe_view')
        is_pass = not func.is_view and not name.startswith(skipped)
        is_large = max(sizes, default=0) >= LARGE
        if is_pass and is_large and func.namespace == 'aten':
            self.names.append(name)
            self.args.append(args)
        return out


def run(path, is_dynamic, dtype=torch.float32, mode=None):
    """Forward and backward of a filter; returns the kernels that it starts."""
    if path in KERNEL_PATHS:
        pytest.importorskip('triton', reason='no Triton here')
    started = []

    def start(kernel, *args, **kwargs):
        started.append(kernel.__name__)

    filters = 4 if is_dynamic else CHANNELS
    with pretended_gpu(start), use_path(path):
        x = torch.empty(BATCH, *GRID, CHANNELS, dtype=dtype, device='cuda')
        routing = x.new_empty(BATCH, filters, CHANNELS) if is_dynamic else None
        filter = torch.empty(
            *half_spectrum_shape(GRID), filters, 2, device='cuda'
        )
        with mode or nullcontext():
            y = filter_for(x).forward(x, routing, filter)
            grads = filter_for(x).backward(y, x, routing, filter)
    assert y.dtype == grads[0].dtype == dtype
    assert all(t is None or t.device.type == 'cuda' for t in (y, *grads))
    return started


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('is_dynamic', [True, False])
@pytest.mark.parametrize('path', PATHS)
def test_the_host_neither_waits_nor_copies(path, is_dynamic, dtype):
    if path == 'pairs' and dtype == torch.float32:
        dtype = torch.float16  # in float32 the grid is too large for it
    tables = matmul._kept_tables.cache_info()
    with device_only() as calls:
        started = run(path, is_dynamic, dtype)
    # A loop over images on the host, and a second pass.
    for name in ('addbmm', 'addbmm_', '_conj', 'baddbmm_'):
        assert not calls[f'aten::{name}']
    # Nothing that a CUDA graph could own is kept.
    assert matmul._kept_tables.cache_info() == tables
    assert ('prepare_kernel' in ' '.join(started)) == (path in KERNEL_PATHS)


@pytest.mark.parametrize('is_dynamic', [True, False])
def test_no_wasted_pass_of_the_fft(is_dynamic):
    kernel = ['bmm'] if is_dynamic else []
    transform, back = ['_fft_r2c'], ['_fft_c2r', 'copy_']
    adjoint = ['conj_physical_', 'mul_', *kernel, 'mul_']
    for dtype in (torch.float32, torch.bfloat16):
        # Cast and transposed in one pass.
        there = ['_to_copy'] if dtype == torch.bfloat16 else []
        there += transform
        passes = _Passes()
        run('fft', is_dynamic, dtype, passes)
        assert passes.names == [
            *(*there, *kernel, 'mul_', *back),
            *(*there, *there, *adjoint, *back),
        ]
        # The second argument after the axes is that of no norm.
        norms = [
            args[2]
            for name, args in zip(passes.names, passes.args)
            if name.startswith('_fft')
        ]
        assert norms == [0] * 5


@pytest.mark.parametrize(
    'path, forward, backward',
    [('pairs', 1, 1), ('quadrants', 1, 1), ('rows', 3, 4)],
)
@pytest.mark.parametrize('is_dynamic', [True, False])
def test_kernels_of_a_step(path, forward, backward, is_dynamic):
    passes = _Passes()
    started = run(path, is_dynamic, torch.bfloat16, passes)
    assert passes.names == []
    # Tables and filters are prepared, gradients of filters brought back.
    assert len(started) == forward + backward + 3


@pytest.mark.parametrize(
    'path, most',
    # Tables of 16 to 128 rows; of two axes in all combinations for the last.
    [('pairs', 4), ('quadrants', 1), ('rows', 12)],
)
def test_kernels_are_compiled_for_many_sizes(path, most):
    """Not for each of multi-scale training, which takes seconds."""
    pytest.importorskip('triton', reason='no Triton here')
    grids = {
        'pairs': [(h, w) for h in range(2, 15) for w in range(2, 15)],
        'quadrants': [(h, w) for h in range(17, 32) for w in range(17, 32)],
        'rows': [(h, w) for h in range(40, 204, 9) for w in range(40, 340, 9)],
    }[path]
    variants = {}

    def start(kernel, *args, **kwargs):
        numbers = {p.name for p in kernel.params if not p.is_constexpr}
        constants = {k: v for k, v in kwargs.items() if k not in numbers}
        seen = variants.setdefault(kernel.__name__, set())
        seen.add(tuple(sorted(constants.items())))

    with pretended_gpu(start), use_path(path):
        for grid in grids:
            x = torch.empty(2, *grid, 32, dtype=torch.bfloat16, device='cuda')
            routing = x.new_empty(2, 4, 32)
            basis = x.new_empty(*half_spectrum_shape(grid), 4, 2)
            filter_for(x).forward(x, routing, basis)
            filter_for(x).backward(x, x, routing, basis)
    assert variants
    for name, seen in variants.items():
        assert len(seen) <= most, (name, len(seen))


def test_kernels_start_on_the_device_of_their_tensors(monkeypatch):
    pytest.importorskip('triton', reason='no Triton here')
    from mmfft.ops.kernels import launch

    order = []

    class Device:
        def __init__(self, tensor):
            self.tensor = tensor

        def __enter__(self):
            order.append(self.tensor)

        def __exit__(self, *error):
            order.append(None)

    class Kernel:
        def __getitem__(self, grid):
            return lambda *args, **options: order.append((grid, args, options))

    monkeypatch.setattr(torch.cuda, 'device_of', Device)
    out, other = torch.ones(2), torch.ones(3)
    launch.launch(Kernel(), (3, 2), out, other, 5, None, num_warps=4, block=8)
    options = dict(num_warps=4, num_stages=1, block=8)
    assert order == [out, ((3, 2), (out, other, 5, None), options), None]
    order.clear()
    launch.launch(Kernel(), 0, out, num_warps=4)
    assert not order
