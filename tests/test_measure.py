# Copyright (c) mmfft authors. All rights reserved.
import platform
from types import SimpleNamespace

import pytest
import torch

from mmfft import measure
from mmfft.measure import compare, device_name, peak_memory, time_in_turns

CPU = torch.device('cpu')
MIB = 2**20


def test_peak_is_what_is_held_at_a_time():
    before = torch.ones(4, MIB // 4)  # not counted

    def call():
        a = torch.ones(MIB // 4)  # 1 MiB
        b = torch.ones(2 * MIB // 4)
        del a
        c = torch.ones(MIB // 2)  # beside b, 4 MiB
        return before, b, c

    # Beside it a scalar may be made.
    assert peak_memory(call, CPU) == pytest.approx(4 * MIB, rel=1e-3)


@pytest.fixture
def clock(monkeypatch):
    """Time as the module sees it, which goes on where a test says so."""
    clock = SimpleNamespace(now=0.0)
    clock.perf_counter = lambda: clock.now
    monkeypatch.setattr(measure, 'time', clock)
    return clock


def test_calls_are_measured_in_turns(clock):
    order = []

    def contender(name, seconds):
        def call():
            order.append(name)
            clock.now += seconds

        return call

    calls = dict(a=contender('a', 0.02), b=contender('b', 0.005))
    seconds = time_in_turns(calls, CPU, rounds=3)
    assert seconds['a'] == pytest.approx([0.02] * 3)
    assert seconds['b'] == pytest.approx([0.005] * 3)
    # Two calls of each come before; a short one is repeated within a round.
    b = ['b'] * 4
    assert order == [*'aabb', 'a', *b, *b, 'a', 'a', *b]


def test_the_median_knows_no_hiccups(clock):
    durations = iter([9.0, 9.0, 0.1, 0.1, 0.3, 7.0, 0.2])

    def call():
        clock.now += next(durations)

    def breaks():
        raise RuntimeError('CUDA out of memory')

    results = compare(dict(a=call, b=breaks), CPU, rounds=3)
    assert results['b'] == dict(error='out of memory')
    assert results['a'].pop('memory') >= 0
    assert results['a'] == pytest.approx(dict(seconds=0.3, fastest=0.2))


def test_other_errors_are_not_taken_for_memory():
    def breaks():
        raise RuntimeError('shapes do not match')

    with pytest.raises(RuntimeError, match='shapes'):
        compare(dict(a=breaks), CPU, rounds=1)


def test_the_name_of_the_device(tmp_path, monkeypatch):
    info = tmp_path / 'cpuinfo'
    monkeypatch.setattr(measure, 'CPU_INFO', info)
    assert device_name(CPU) == platform.processor()
    info.write_text('processor\t: 0\nmodel name\t: EPYC: 7B13 \n')
    assert device_name(CPU) == 'EPYC: 7B13'
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda d: f'GPU {d}')
    assert device_name(torch.device('cuda:1')) == 'GPU cuda:1'
