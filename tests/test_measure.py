# Copyright (c) mmfft authors. All rights reserved.
import platform
import time
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

    results = compare(dict(a=lambda: [call], b=lambda: [breaks]), CPU, 3)
    assert results['b'] == dict(error='out of memory')
    assert results['a'].pop('memory') >= 0
    assert results['a'] == pytest.approx(dict(ms=300, fastest_ms=200))


@pytest.mark.parametrize('good_calls', [0, 3, 5])
def test_an_error_costs_only_its_contender(good_calls):
    """In the first call, in warm-up, or in a later round."""
    calls = iter(range(good_calls))

    def breaks():
        if next(calls, None) is None:
            raise ValueError('shapes do not match')
        time.sleep(0.02)

    def cannot_be_made():
        raise KeyError('a')

    contenders = dict(
        a=cannot_be_made, b=lambda: [breaks], c=lambda: [lambda: None]
    )
    results = compare(contenders, CPU, rounds=3)
    assert results['a']['error'] == "KeyError: 'a'"
    assert results['b']['error'] == 'ValueError: shapes do not match'
    assert any('in breaks' in line for line in results['b']['trace'])
    assert results['c']['ms'] > 0


def test_inputs_rotate():
    order = []
    compare(
        dict(a=lambda: [lambda i=i: order.append(i) for i in range(3)]), CPU, 1
    )
    assert len(order) > 5
    assert order == [i % 3 for i in range(len(order))]


def test_warm_up_ends_when_calls_get_no_faster(clock):
    durations = iter([9.0, 1.0, 0.5, 0.1, 0.1, 0.3])

    def call():
        clock.now += next(durations)

    seconds = time_in_turns(dict(a=call), CPU, rounds=1)
    assert seconds['a'] == pytest.approx([0.3])


@pytest.fixture
def gpu(monkeypatch):
    """The calls of torch.cuda, noted; graphs and events do nothing."""
    noted = []

    class Fake:
        def __init__(self, *args, **options):
            noted.append(type(self).__name__)

        def record(self):
            pass

        def elapsed_time(self, end):
            return 20.0

        def wait_stream(self, stream):
            pass

        def replay(self):
            noted.append('replay')

        def __enter__(self):
            pass

        def __exit__(self, *args):
            pass

    classes = ('Event', 'Stream', 'CUDAGraph', 'stream', 'graph')
    for name in classes:
        monkeypatch.setattr(torch.cuda, name, type(name, (Fake,), {}))
    for name in ('synchronize', 'reset_peak_memory_stats', 'current_stream'):
        monkeypatch.setattr(torch.cuda, name, lambda device: None)
    monkeypatch.setattr(torch.cuda, 'empty_cache', lambda: None)
    for name, value in dict(
        memory_allocated=1, max_memory_allocated=3
    ).items():
        monkeypatch.setattr(torch.cuda, name, lambda device, v=value: v)
    monkeypatch.setattr(torch.cuda, 'set_sync_debug_mode', noted.append)
    return noted


def test_events_and_graphs_on_a_gpu(gpu, monkeypatch):
    monkeypatch.setattr(measure, '_LEAST_SECONDS', 0)  # one call a round
    calls = []
    contender = [lambda i=i: calls.append(i) for i in range(4)]
    result = compare(
        dict(a=lambda: contender), torch.device('cuda'), rounds=2
    )['a']
    assert result.pop('wall_ms') > 0 and result.pop('graph_ms') > 0
    assert result == dict(memory=2, ms=20.0, fastest_ms=20.0)
    # One call without synchronisation, all of them on a side stream, and all
    # of them in a graph, which is replayed to warm up and twice.
    assert calls[-9:] == [0, *range(4), *range(4)]
    graph = gpu[gpu.index('error') :]
    assert graph[:2] == ['error', 'default']
    assert graph[2:6] == ['Stream', 'stream', 'CUDAGraph', 'graph']
    assert set(graph[6:]) == {'replay'}


def test_what_cannot_be_captured_is_measured(gpu, monkeypatch):
    def synchronizes():
        if gpu[-1:] == ['error']:
            raise RuntimeError('called a synchronizing CUDA operation')

    device = torch.device('cuda')
    result = compare(dict(a=lambda: [synchronizes]), device, 1)['a']
    assert 'synchronizing' in result['graph_error']
    assert result['ms'] > 0
    assert gpu[-1] == 'default'
    again = compare(dict(a=lambda: [synchronizes]), device, 1, capture=False)
    assert 'graph_error' not in again['a']


def test_without_rounds_calls_are_made_once():
    calls = []
    result = compare(dict(a=lambda: [lambda: calls.append(1)]), CPU, 0)
    assert list(result['a']) == ['memory']
    assert len(calls) == 2  # the second one for the memory


def test_the_name_of_the_device(tmp_path, monkeypatch):
    info = tmp_path / 'cpuinfo'
    monkeypatch.setattr(measure, 'CPU_INFO', info)
    assert device_name(CPU) == platform.processor()
    info.write_text('processor\t: 0\nmodel name\t: EPYC: 7B13 \n')
    assert device_name(CPU) == 'EPYC: 7B13'
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda d: f'GPU {d}')
    assert device_name(torch.device('cuda:1')) == 'GPU cuda:1'
