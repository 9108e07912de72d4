# Copyright (c) mmfft authors. All rights reserved.
import time

import pytest
import torch

from mmfft.analysis.measure import compare, device_name, peak_memory

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


def test_calls_are_measured_in_turns():
    order = []

    def sleeper(name, seconds):
        def call():
            order.append(name)
            time.sleep(seconds)

        return call

    def breaks():
        raise RuntimeError('CUDA out of memory')

    calls = dict(a=sleeper('a', 0.02), b=sleeper('b', 0.06), c=breaks)
    results = compare(calls, CPU, rounds=3)
    assert results['c'] == dict(error='out of memory')
    assert order[-6:] == ['a', 'b', 'b', 'a', 'a', 'b']
    assert 0.02 <= results['a']['fastest'] <= results['a']['seconds'] < 0.06
    assert results['b']['seconds'] >= 0.06


def test_other_errors_are_not_taken_for_memory():
    def breaks():
        raise RuntimeError('shapes do not match')

    with pytest.raises(RuntimeError, match='shapes'):
        compare(dict(a=breaks), CPU, rounds=1)


def test_the_device_has_a_name():
    assert device_name(CPU)
