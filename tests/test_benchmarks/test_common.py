# Copyright (c) mmfft authors. All rights reserved.
"""No failure loses a row."""

import os
import signal
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch

from benchmarks import common, op, report
from mmfft.ops import dispatch

ROOT = Path(__file__).resolve().parents[2]
QUICK = ['--device', 'cpu', '--rounds', '1', '--sizes', '32', '--batch', '1']


def arguments(tmp_path, **others):
    defaults = dict(device='cpu', threads=None, minutes=None, resume=False)
    return Namespace(**{**defaults, **others}, out=tmp_path)


@pytest.mark.slow
def test_a_killed_benchmark_leaves_its_rows(tmp_path, capsys):
    """SIGKILL, as the system sends it when memory runs out."""
    process = subprocess.Popen(
        [sys.executable, '-m', 'benchmarks.op', *QUICK]
        + ['--out', str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
        stdout=subprocess.PIPE,
        text=True,
    )
    lines = [process.stdout.readline() for _ in range(8)]
    process.kill()
    process.wait()
    process.stdout.close()
    path = tmp_path / 'op.jsonl'
    with path.open('a') as file:
        file.write('{"cut sho')
    report.main([str(path)])
    rows = report.read(path)[1]
    assert len(rows) >= len(lines) - 1
    assert all(row['ms'] > 0 for row in rows)
    assert rows[1]['speed'] > 0
    assert 'plain' in capsys.readouterr().out
    assert (tmp_path / 'op.png').stat().st_size > 0
    # It can be gone on with.
    again = [*QUICK, '--resume', '--out', str(tmp_path)]
    assert op.main(again) == 0
    rows = report.read(path)[1]
    cases = {(row['mode'], row['grid'], row['name']) for row in rows}
    assert len(cases) == len(rows) == 2 * 4 * 6


@pytest.fixture
def recorder(tmp_path):
    recorder = common.Recorder('test', arguments(tmp_path))
    yield recorder
    signal.signal(signal.SIGTERM, recorder._before)


def test_failures_cost_only_their_case(recorder, capsys):
    def fails():
        raise TypeError('no kernel')

    def is_full():
        raise torch.OutOfMemoryError('CUDA out of memory. Tried to ...')

    recorder.case(dict(name='full'), is_full)
    recorder.case(dict(name='good'), lambda: [dict(ms=1)])
    assert recorder.finish() == 0
    recorder._open()
    recorder.case(dict(name='wrong'), fails)
    recorder.case(dict(name='next'), lambda: [dict(ms=1)])
    assert recorder.finish() == 1
    assert report.read(recorder.path)[1][0]['error'] == 'TypeError: no kernel'
    assert '2 rows, 1 failed' in capsys.readouterr().out


def test_minutes(recorder):
    """No case is begun that takes longer than what is left."""
    clock = recorder.end = common.time.monotonic() + 20
    recorder.case(dict(name='short'), lambda: [dict(ms=1)])
    assert 0 < recorder.longest['eager'] < common.SECONDS['eager']
    recorder.longest['eager'] = 30
    recorder.case(dict(name='long', batch=8), lambda: [dict(ms=1)])
    recorder.case(dict(name='compiled'), lambda: [dict(ms=1)], 'compiled')
    assert recorder.finish() == 0
    assert clock > common.time.monotonic()
    short, last = report.read(recorder.path)[1]
    assert short['name'] == 'short'
    assert last == dict(left_out=['long 8', 'compiled'])


def test_a_signal_ends_the_case_and_leaves_out_the_others(recorder):
    recorder.case(dict(name='a'), lambda: [signal.raise_signal(15)])
    recorder.case(dict(name='b'), lambda: [dict(ms=1)])
    assert recorder.finish() == 1
    first, last = report.read(recorder.path)[1]
    assert first['error'] == 'Stopped: stopped by a signal'
    assert last == dict(left_out=['b'])


def test_a_broken_gpu_is_left_to_a_new_process(tmp_path, monkeypatch):
    """After an illegal access, no call of CUDA succeeds in the process."""
    argv = ['--device', 'cpu', '--minutes', '5']
    args = arguments(tmp_path, minutes=5.0)
    recorder = common.Recorder('op', args, argv)
    signal.signal(signal.SIGTERM, recorder._before)

    def clear(device):
        raise RuntimeError('an illegal memory access was encountered')

    commands = []
    monkeypatch.setattr(common, 'clear', clear)
    monkeypatch.setattr(common.os, 'execv', lambda *a: commands.append(a))
    recorder.case(dict(name='a'), lambda: [dict(error='illegal access')])
    [(program, command)] = commands
    assert program == command[0] == sys.executable
    assert command[1:7] == ['-m', 'benchmarks.op', *argv]
    assert command[7:9] == ['--resume', '--minutes']
    assert 4.9 < float(command[9]) < 5


def test_a_gpu_measures_one_contender_at_a_time(recorder, monkeypatch):
    groups = []

    def compare(group, device, rounds, capture):
        groups.append((list(group), capture))
        return {name: dict(ms=2.0, memory=1) for name in group}

    monkeypatch.setattr(common, 'compare', compare)
    recorder.args.rounds = 3
    calls = dict.fromkeys(['a', 'b'])
    recorder.compare(dict(size=1), calls, lambda name: 'a', compiled=['b'])
    recorder.device = torch.device('cuda')
    monkeypatch.setattr(torch.cuda, 'synchronize', lambda device: None)
    monkeypatch.setattr(common, 'clear', lambda device: None)
    recorder.compare(dict(size=2), calls, lambda name: 'a', compiled=['b'])
    assert groups == [(['a', 'b'], False), (['a'], True), (['b'], False)]
    assert all(r['speed'] == 1 for r in report.read(recorder.path)[1])


def test_what_follows_a_measurement_cannot_lose_it(recorder):
    def extra(name, row):
        raise RuntimeError(f'no error of {name}')

    recorder.args.rounds = 1
    calls = dict(a=lambda: [lambda: None])
    recorder.compare({}, calls, lambda name: 'a', extra)
    [row] = recorder.rows
    assert row['ms'] > 0
    assert row['error'] == 'RuntimeError: no error of a'


@pytest.mark.parametrize('new', ['ieee', 'tf32'])
@pytest.mark.parametrize('tf32', [True, False])
def test_tf32_works_with_both_interfaces(tf32, new):
    matmul = torch.backends.cuda.matmul
    has_both = hasattr(matmul, 'fp32_precision')  # since PyTorch 2.9
    try:
        if has_both:
            matmul.fp32_precision = new
        common.use_tf32(tf32)
        if has_both:
            assert matmul.fp32_precision == ('tf32' if tf32 else 'ieee')
        assert matmul.allow_tf32 == tf32
        found = torch.get_float32_matmul_precision()
        assert found == ('high' if tf32 else 'highest')
        assert torch.backends.cudnn.allow_tf32 == tf32
    finally:
        common.use_tf32(False)


def test_batches():
    def of(device, size, batch=None):
        return common.batches(Namespace(device=device, batch=batch), size)

    assert of('cpu', (224, 224)) == [8]
    sizes = [(224, 224), (512, 512), (800, 1344), (9000, 9000)]
    assert [of('cuda', size) for size in sizes] == [[128], [16], [4], [1]]
    assert of('cuda', (224, 224), [2, 4]) == [2, 4]


def test_modules_run_both_passes_by_the_path_of_their_name():
    taken = []

    class Noting(torch.nn.Linear):
        def forward(self, x):
            y = super().forward(x)
            taken.append(dispatch._forced)
            y.register_hook(lambda grad: taken.append(dispatch._forced))
            return y

    modules = {name: Noting(2, 2) for name in ('a', 'a' + common.KERNELS)}
    args = common.parser('').parse_args(['--device', 'cpu'])
    case = common.Modules(modules, (1, 2), True, args)
    for make in case.contenders().values():
        [call] = make()
        call()
    assert taken == [None, None, 'triton', 'triton']
