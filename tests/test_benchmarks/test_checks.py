# Copyright (c) mmfft authors. All rights reserved.
import json

import pytest

from benchmarks import checks, report

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


def test_a_wrong_result_fails(tmp_path, monkeypatch, capsys):
    forced = checks.forced

    def wrong(path, *function):
        apply = forced(path, *function)
        return lambda *tensors: (
            (1 + 1e-4 * (path == 'matmul')) * apply(*tensors)
        )

    monkeypatch.setattr(checks, 'forced', wrong)
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
