# Copyright (c) mmfft authors. All rights reserved.
import re
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

CPU = torch.device('cpu')


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
    assert chosen_path((14, 14), torch.device('cuda')) == 'fft'


@pytest.mark.parametrize(
    'path, grid, dtype, is_dynamic, expected',
    [
        ('triton', (200, 336), torch.float32, True, 'triton'),
        ('triton', (14, 14), torch.float64, True, 'fft'),
        ('triton', (14, 14), torch.float32, False, 'fft'),
        ('triton-whole', (32, 9), torch.float32, True, 'triton-whole'),
        ('triton-whole', (9, 33), torch.float32, True, 'fft'),
        ('triton-whole', (14, 14), torch.float64, True, 'fft'),
        ('triton-whole', (14, 14), torch.float32, False, 'fft'),
        ('matmul', (200, 336), torch.float64, False, 'matmul'),
    ],
)
def test_what_a_forced_path_does_not_take_runs_by_the_fft(
    path, grid, dtype, is_dynamic, expected
):
    with use_path(path):
        assert chosen_path(grid, CPU, dtype, is_dynamic) == expected


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
