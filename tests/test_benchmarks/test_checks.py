# Copyright (c) mmfft authors. All rights reserved.
import json

import pytest
import torch

from benchmarks import checks, common, op, report
from mmfft.ops.composed import ComposedFilter

SMALL = ['--device', 'cpu', '--small']


@pytest.mark.slow
def test_all_checks_pass_on_a_cpu(tmp_path, capsys):
    assert checks.main([*SMALL, '--out', str(tmp_path)]) == 0
    rows = report.read(tmp_path / 'checks.jsonl')[1]
    skipped = [row for row in rows if 'skipped' in row]
    assert {row['skipped'] for row in skipped} == {
        'needs CUDA',
        'needs two GPUs',
    }
    assert not any('passed' in row for row in skipped)
    judged = [row for row in rows if 'passed' in row]
    assert all(row['passed'] for row in judged)
    assert {row['check'] for row in judged + skipped} == {
        'dynamic filter',
        'static filter',
        'convention of the inverse FFT',
        'no synchronization in the filter',
        'the filter in a CUDA graph',
        "PyTorch's new interface of precision",
        'a GPU that is not the current one',
        'StarReLU in float16',
        'no synchronization in a step',
        'features',
        'deterministic',
        'one process of DDP',
        'plans of 150 sizes',
        'more than 2^31 elements',
        'compiled',
    }
    figures = [row for row in rows if row not in judged + skipped]
    assert [row['check'] for row in figures] == ['ceilings']
    assert f'{len(judged)} checks passed' in capsys.readouterr().out


def test_models_can_be_chosen(tmp_path, capsys):
    options = [*SMALL, '--only', 'models', '--out', str(tmp_path)]
    with pytest.raises(SystemExit) as stop:
        checks.main([*options, '--models', 'cdfformer_s18'])
    assert stop.value.code == 2
    assert 'cdfformer, dfformer, gfnet' in capsys.readouterr().err
    assert checks.main([*options, '--models', 'gfnet', '--minutes', '0']) == 0
    [row] = report.read(tmp_path / 'checks.jsonl')[1]
    assert len(row['left_out']) > 5
    assert all('gfnet' in name.split() for name in row['left_out'])


@pytest.mark.parametrize('grid', ['3x4', '200x2'])
def test_both_passes_take_the_path(monkeypatch, grid):
    """Also where it is not the default of the grid."""
    taken = []
    for name in ('forward', 'backward'):

        def note(filter, *args, name=name, run=getattr(ComposedFilter, name)):
            taken.append((filter.transform.__name__.split('.')[-1], name))
            return run(filter, *args)

        monkeypatch.setattr(ComposedFilter, name, note)
    grid = common.size_of(grid)
    tensors = op.inputs(grid, 8, 2, torch.float32, torch.device('cpu'))
    both = {
        path: [(path, 'forward'), (path, 'backward')]
        for path in ('fft', 'matmul')
    }
    for path, passes in both.items():
        op.results(
            op.dynamic_spectral_filter,
            tensors,
            torch.ones_like(tensors[0]),
            path,
        )
        assert taken == passes
        taken.clear()
    args = op.parser('').parse_args(['--device', 'cpu'])
    case = op.Case(grid, 8, 2, True, args)
    for path, passes in both.items():
        [call] = case.contenders()[f'mmfft {path}']()
        call()
        assert taken == passes
        taken.clear()


def test_a_wrong_result_fails(tmp_path, monkeypatch, capsys):
    results = checks.results

    def wrong(function, tensors, grad, path=None):
        def apply(*tensors):
            return (1 + 1e-4 * (path == 'matmul')) * function(*tensors)

        return results(apply, tensors, grad, path)

    monkeypatch.setattr(checks, 'results', wrong)
    options = ['--only', 'filters', '--grids', '3x4', '--out', str(tmp_path)]
    assert checks.main([*SMALL, *options]) == 1
    rows = report.read(tmp_path / 'checks.jsonl')[1]
    failed = {
        (row['path'], row.get('dtype')) for row in rows if not row['passed']
    }
    # Less than what half precision rounds to.
    assert failed == {('matmul', 'float32'), ('matmul', None)}
    failures = [
        json.loads(line.removeprefix('FAILED: '))
        for line in capsys.readouterr().out.splitlines()
        if line.startswith('FAILED')
    ]
    assert len(failures) == 3
