# Copyright (c) mmfft authors. All rights reserved.
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmfft.ops import (
    chosen_path,
    dispatch,
    dynamic_spectral_filter,
    resize_filter,
    use_path,
)

CPU, CUDA = torch.device('cpu'), torch.device('cuda')


class Filter(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.basis = torch.nn.Parameter(torch.randn(6, 4, 2, 2))

    def forward(self, x, routing):
        basis = resize_filter(self.basis, (6, 7), x.shape[1:3])
        return dynamic_spectral_filter(x, routing, basis)


def test_a_forced_path_ends_with_its_block():
    before = chosen_path((4, 4), CPU)
    with pytest.raises(KeyError), use_path('export'):
        with use_path('fft'):
            assert chosen_path((4, 4), CPU) == 'fft'
        assert chosen_path((4, 4), CPU) == 'export'
        raise KeyError
    assert chosen_path((4, 4), CPU) == before
    with pytest.raises(ValueError, match="got 'fourier'"), use_path('fourier'):
        pass


def test_large_grids_take_the_fft():
    assert chosen_path((14, 14), CPU) == 'matmul'
    assert chosen_path((200, 336), CPU) == 'fft'
    assert chosen_path((14, 14), CUDA) == 'fft'


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16])
@pytest.mark.parametrize(
    'grid', [(1, 1), (7, 7), (14, 14), (14, 13), (200, 336), (201, 335)]
)
def test_no_fft_on_apples_gpus(grid, dtype):
    # There irfft is wrong for odd widths: pytorch/pytorch#126649.
    mps = torch.device('mps')
    assert chosen_path(grid, mps, dtype) == 'matmul'
    with use_path('fft'):
        assert chosen_path(grid, mps, dtype) == 'fft'
    with use_path('export'):
        assert chosen_path(grid, mps, dtype) == 'export'


@pytest.mark.parametrize(
    'path, grid, dtype, expected',
    [
        ('triton', (14, 14), torch.bfloat16, 'pairs'),
        ('triton', (14, 14), torch.float32, 'quadrants'),
        ('triton', (11, 11), torch.float32, 'pairs'),
        ('triton', (15, 17), torch.float16, 'pairs'),
        ('triton', (16, 16), torch.float16, 'quadrants'),
        ('triton', (28, 31), torch.float32, 'quadrants'),
        ('triton', (32, 31), torch.float32, 'rows'),
        ('triton', (64, 64), torch.float32, 'rows'),
        ('triton', (64, 65), torch.float32, 'fft'),
        ('triton', (200, 336), torch.bfloat16, 'rows'),
        ('triton', (336, 200), torch.bfloat16, 'rows'),
        ('triton', (336, 255), torch.bfloat16, 'rows'),
        ('triton', (256, 336), torch.bfloat16, 'fft'),
        ('triton', (14, 14), torch.float64, 'fft'),
        ('rows', (14, 14), torch.float32, 'rows'),
        ('pairs', (16, 16), torch.bfloat16, 'fft'),
        ('quadrants', (9, 32), torch.bfloat16, 'fft'),
    ],
)
@pytest.mark.filterwarnings('ignore:path .* is forced')
def test_kernels_by_grid(path, grid, dtype, expected):
    pytest.importorskip('triton', reason='no Triton here')
    with use_path(path):
        assert chosen_path(grid, CUDA, dtype) == expected


# A100, GeForce RTX 40, B200, GeForce RTX 50.
@pytest.mark.parametrize('capability', [(8, 0), (8, 9), (10, 0), (12, 0)])
@pytest.mark.parametrize(
    'grid, dtype, expected',
    [
        ((8, 7), torch.float32, 'pairs'),
        ((8, 8), torch.bfloat16, 'quadrants'),
        ((14, 14), torch.bfloat16, 'quadrants'),
        ((31, 31), torch.float32, 'quadrants'),
        ((56, 56), torch.float32, 'rows'),
        ((336, 63), torch.bfloat16, 'rows'),
        ((64, 64), torch.bfloat16, 'fft'),
        ((200, 336), torch.bfloat16, 'fft'),
    ],
)
def test_other_gpus_take_smaller_maps_by_kernels(
    capability, grid, dtype, expected, monkeypatch
):
    pytest.importorskip('triton', reason='no Triton here')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(
        torch.cuda, 'get_device_capability', lambda device: capability
    )
    monkeypatch.setattr(dispatch, '_WARNED', set())
    with use_path('triton'):
        if expected == 'fft':
            with pytest.warns(UserWarning, match="'triton' is forced, but"):
                assert chosen_path(grid, CUDA, dtype) == expected
        else:
            assert chosen_path(grid, CUDA, dtype) == expected


@pytest.mark.filterwarnings('ignore:path .* is forced')
def test_gpus_without_kernels(monkeypatch):
    pytest.importorskip('triton', reason='no Triton here')
    with use_path('triton'):
        assert chosen_path((7, 7), CUDA) == 'pairs'
        with monkeypatch.context() as context:
            context.setattr(torch.version, 'hip', '6.4')
            assert chosen_path((7, 7), CUDA) == 'fft'
        monkeypatch.setattr(dispatch, '_capability', lambda device: (7, 5))
        for grid in ((7, 7), (14, 14), (56, 56)):
            assert chosen_path(grid, CUDA) == 'fft'


def test_each_gpu_by_its_own_capability(monkeypatch):
    pytest.importorskip('triton', reason='no Triton here')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(
        torch.cuda,
        'get_device_capability',
        lambda device: (8, 0) if device.index == 1 else (9, 0),
    )
    with use_path('triton'):
        found = [
            chosen_path((14, 14), torch.device('cuda', i), torch.bfloat16)
            for i in range(2)
        ]
    assert found == ['pairs', 'quadrants']


def test_precision_has_a_part_in_the_choice():
    pytest.importorskip('triton', reason='no Triton here')
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision('high')
        with use_path('triton'):
            assert chosen_path((14, 14), CUDA) == 'pairs'
            assert chosen_path((200, 336), CUDA) == 'rows'
    finally:
        torch.set_float32_matmul_precision(before)


def test_kernels_are_off_until_a_gpu_has_measured_them(monkeypatch):
    pytest.importorskip('triton', reason='no Triton here')
    assert chosen_path((14, 14), CUDA, torch.bfloat16) == 'fft'
    assert not dispatch.takes_kernel(torch.ones(3))
    # Switching them on is one line.
    monkeypatch.setattr(dispatch, '_KERNELS_PAY', True)
    assert chosen_path((14, 14), CUDA, torch.bfloat16) == 'pairs'
    assert chosen_path((14, 14), CUDA, torch.float64) == 'fft'
    assert chosen_path((14, 14), CPU) == 'matmul'
    assert not dispatch.takes_kernel(torch.ones(3))
    with monkeypatch.context() as context:
        context.setattr(dispatch, '_capability', lambda device: (8, 0))
        assert chosen_path((8, 7), CUDA) == 'fft'
    monkeypatch.setattr(dispatch, '_INTERPRETED', True)
    assert chosen_path((14, 14), CPU) == 'matmul'
    assert dispatch.takes_kernel(torch.ones(3))
    with monkeypatch.context() as context:
        context.setattr(dispatch, '_HAS_TRITON', False)
        assert chosen_path((14, 14), CUDA) == 'fft'
        assert not dispatch.takes_kernel(torch.ones(3))
    with use_path('fft'):
        assert not dispatch.takes_kernel(torch.ones(3))


def test_what_a_forced_path_does_not_take_runs_by_the_fft(monkeypatch):
    monkeypatch.setattr(dispatch, '_WARNED', set())
    with use_path('rows'):
        with pytest.warns(UserWarning, match="'rows' is forced.* 5x6, torch."):
            assert chosen_path((5, 6), CPU) == 'fft'
        assert chosen_path((5, 6), CPU) == 'fft'  # warns once
    with use_path('matmul'):
        assert chosen_path((200, 336), CPU, torch.float64) == 'matmul'


@pytest.mark.parametrize('path', ['export', 'quadrants', ''])
def test_a_path_for_the_whole_process(path):
    program = 'from mmfft.ops import dispatch; print(dispatch._forced)'
    run = subprocess.run(
        [sys.executable, '-c', program],
        env={**os.environ, 'MMFFT_PATH': path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == f'{path or None}\n'


def test_kernels_without_triton_say_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, 'triton', None)
    for module in [
        m for m in sys.modules if m.startswith('mmfft.ops.kernels')
    ]:
        monkeypatch.delitem(sys.modules, module)
    with (
        use_path('triton'),
        pytest.raises(
            ImportError, match='install the package triton, or force'
        ),
    ):
        chosen_path((14, 14), CUDA)


def test_an_unknown_path_for_the_whole_process(monkeypatch):
    monkeypatch.setenv('MMFFT_PATH', 'fourier')
    with pytest.raises(ValueError, match="MMFFT_PATH must .* 'fourier'"):
        dispatch._path_of_environment()


@pytest.mark.skipif(
    not hasattr(torch.backends.cuda.matmul, 'fp32_precision'),
    reason='PyTorch before 2.9 has the old names only',
)
def test_precision_by_either_of_its_names():
    # In a process of its own: what was set by one name cannot be unset by it.
    program = """
import torch
from mmfft.ops.precision import operand_precision
matmul = torch.backends.cuda.matmul
def found():
    dtypes = torch.float32, torch.bfloat16, torch.float16
    return [operand_precision(dtype) for dtype in dtypes]
assert found() == ['tf32x3', 'tf32', 'tf32']
torch.set_float32_matmul_precision('high')
assert found() == ['tf32', 'tf32', 'tf32']
torch.set_float32_matmul_precision('medium')
assert found() == ['bf16', 'bf16', 'bf16']
matmul.fp32_precision = 'ieee'
assert found() == ['tf32x3', 'tf32', 'tf32']
torch.set_float32_matmul_precision('highest')
matmul.fp32_precision = 'tf32'
assert found() == ['tf32', 'tf32', 'tf32']
torch.set_float32_matmul_precision('highest')
torch.backends.fp32_precision = 'tf32'
assert found()[1:] == ['tf32', 'tf32']
"""
    subprocess.run([sys.executable, '-c', program], check=True)


@pytest.mark.skipif(
    not hasattr(torch.compiler, 'is_exporting'),
    reason='PyTorch before 2.7 does not say that it exports',
)
def test_an_exported_graph_has_plain_operators_and_any_size():
    torch.manual_seed(0)
    module = Filter()
    dynamic = dict.fromkeys(range(3), torch.export.Dim.DYNAMIC)
    program = torch.export.export(
        module,
        (torch.randn(2, 8, 9, 3), torch.rand(2, 2, 3)),
        dynamic_shapes=(dynamic, {0: torch.export.Dim.DYNAMIC}),
    )
    for node in program.graph.nodes:
        name = str(node.target)
        assert 'fft' not in name and 'complex' not in name
        value = node.meta.get('val')
        assert not (torch.is_tensor(value) and value.is_complex())
    for batch, *grid in [(3, 8, 9), (2, 11, 14), (4, 30, 25)]:
        args = torch.randn(batch, *grid, 3), torch.rand(batch, 2, 3)
        torch.testing.assert_close(
            program.module()(*args), module(*args), atol=1e-5, rtol=1e-5
        )


def test_only_dispatch_asks_how_the_code_is_run():
    package = Path(dispatch.__file__).parents[1]
    asks = re.compile(
        r'is_(compiling|dynamo_compiling|exporting|tracing|in_onnx_export)\b'
        r'|forward_ad|_functorch|functorch_transforms'
    )
    asking = {
        path.relative_to(package).as_posix()
        for path in package.rglob('*.py')
        if asks.search(path.read_text())
    }
    assert asking == {'ops/dispatch.py'}


@pytest.mark.parametrize(
    ('grid', 'path'),
    [((7, 7), 'matmul'), ((25, 75), 'matmul'), ((56, 56), 'fft')],
)
def test_small_grids_take_products_on_a_cpu(grid, path):
    """As measured: docs/results/costs.md."""
    assert chosen_path(grid, torch.device('cpu')) == path
