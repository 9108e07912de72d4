# Copyright (c) mmfft authors. All rights reserved.
"""The script for a visit to a machine with a GPU, rehearsed without one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import report

SCRIPT = Path(__file__).resolve().parents[2] / 'benchmarks' / 'gpu.sh'


@pytest.fixture
def run(tmp_path):
    """Run the script; returns the exit status and the stages by name."""

    def run(*args, **environment):
        out = tmp_path / 'out'
        process = subprocess.run(
            [SCRIPT, '--small', *args],
            env={
                **os.environ,
                'OMP_NUM_THREADS': '1',
                'PYTHON': sys.executable,
                'OUT': str(out),
                **environment,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        lines = (out / 'stages.jsonl').read_text().splitlines()
        # Of stages that end at the same time, either may be printed first.
        assert sorted(process.stdout.splitlines()) == sorted(lines)
        stages = {row['stage']: row for row in map(json.loads, lines)}
        return process.returncode, stages, out

    return run


@pytest.mark.slow
def test_a_part_is_rehearsed(run):
    status, stages, out = run('2')
    assert status == 0
    measured = ['op-bf16', 'mixers-bf16', 'op-tf32', 'op-fp32']
    assert list(stages) == ['compile-64-3-bf16', *measured]
    for name in measured:
        file = f'{name.partition("-")[0]}.jsonl'
        environment, rows = report.read(out / name / file)
        dtype = 'bfloat16' if 'bf16' in name else 'float32'
        assert environment['arguments']['dtype'] == dtype
        assert all(row['ms'] > 0 for row in rows)
    assert (out / 'op-bf16' / 'op.png').exists()
    compiled = report.read(out / 'compile-64-3-bf16' / 'op.jsonl')[1]
    assert compiled and not any('ms' in row for row in compiled)


def test_what_hangs_or_fails_costs_only_itself(run, tmp_path):
    python = tmp_path / 'python'
    python.write_text(
        '#!/usr/bin/env bash\n'
        'case "$*" in\n'
        '-c*) exit 0 ;;\n'  # there is a GPU
        '*--only\\ filters*) exec sleep 600 ;;\n'
        '*op-tf32*) exit 3 ;;\n'
        '*) echo "$@" ;;\n'
        'esac\n'
    )
    python.chmod(0o755)
    # Relative, although stages run in other folders.
    status, stages, out = run(MINUTES='0.2', PYTHON=os.path.relpath(python))
    assert status == 1
    assert stages.pop('filters-6x5')['status'] == '124'
    assert stages.pop('op-tf32')['status'] == '3'
    assert {row['status'] for row in stages.values()} == {'0'}
    trained = ['cls', 'cls-fp16', 'cls-bf16', 'det']
    sizes = [f'backbones-{size}' for size in (224, 512, '800x1344')]
    rest = ['profile', 'backbones-tf32', 'valid-sizes', 'boundary']
    measured = [*sizes, 'backbones-compiled', *rest]
    assert list(stages)[-14:-12] == ['data', 'cls']
    assert set(list(stages)[-12:-8]) == {
        'compile-cdfformer_s18',
        *trained[1:],
    }
    assert list(stages)[-8:] == measured
    logs = {
        name: (out / 'logs' / f'{name}.log').read_text() for name in stages
    }
    assert ['--amp' in logs[name] for name in trained] == [False, *[True] * 3]
    assert 'optim_wrapper.dtype=bfloat16' in logs['cls-bf16']
    assert '--minutes 0.07' in logs['cdfformer']  # of four ninths


def test_a_part_ends_in_time(run, tmp_path):
    python = tmp_path / 'python'
    python.write_text('#!/usr/bin/env bash\nexec sleep 600\n')
    python.chmod(0o755)
    status, stages, _ = run('2', MINUTES='0.1', PYTHON=str(python))
    assert status == 1
    assert {row['status'] for row in stages.values()} <= {'124', 'left out'}
    # Of six seconds; each of the five would sleep for ten minutes.
    assert len(stages) == 5
    assert sum(row['seconds'] for row in stages.values()) < 60


def test_what_there_is_no_time_for_is_named(run):
    status, stages, _ = run('1', '2', MINUTES='0')
    assert status == 1
    assert len(stages) > 5
    assert {row['status'] for row in stages.values()} == {'left out'}
