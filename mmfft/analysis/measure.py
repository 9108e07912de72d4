# Copyright (c) mmfft authors. All rights reserved.
"""Time and peak memory of a call, side by side with others.

It needs torch alone.
"""

import gc
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

# A call shorter than this is repeated within a round.
_LEAST_SECONDS = 0.02


def compare(
    contenders: dict[str, Callable[[], object]],
    device: torch.device,
    rounds: int,
) -> dict[str, dict]:
    """Time and peak memory of each contender.

    Within a round each runs once, so that what else happens on the machine
    falls on all of them; the order turns from round to round.

    Args:
        contenders (dict[str, Callable]): What to call, by name.
        device (torch.device): Where it runs.
        rounds (int): Measurements of each.

    Returns:
        dict[str, dict]: ``seconds`` (median), ``fastest``, ``memory`` (peak
        bytes allocated in a call) by name, or ``error`` where memory ran out.
    """
    results, repeats = {}, {}
    for name, call in contenders.items():
        try:
            _seconds(call, device)
            memory = peak_memory(call, device)
            once = _seconds(call, device)
        except RuntimeError as error:
            if not _out_of_memory(error):
                raise
            results[name] = dict(error='out of memory')
        else:
            results[name] = dict(memory=memory, times=[])
            repeats[name] = max(1, int(_LEAST_SECONDS / once))
        clear(device)
    names = list(repeats)
    for turn in range(rounds if names else 0):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            seconds = _seconds(contenders[name], device, repeats[name])
            results[name]['times'].append(seconds)
    for result in results.values():
        if times := result.pop('times', None):
            result['seconds'] = statistics.median(times)
            result['fastest'] = min(times)
    return results


def _seconds(
    call: Callable[[], object], device: torch.device, repeats: int = 1
) -> float:
    synchronize(device)
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    synchronize(device)
    return (time.perf_counter() - start) / repeats


def synchronize(device: torch.device) -> None:
    """Wait for what was started on a GPU."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


def clear(device: torch.device) -> None:
    """Free what is no longer used."""
    gc.collect()
    if device.type == 'cuda':
        torch.cuda.empty_cache()


def _out_of_memory(error: RuntimeError) -> bool:
    text = str(error).lower()
    return 'out of memory' in text or "can't allocate memory" in text


def peak_memory(call: Callable[[], object], device: torch.device) -> int:
    """Most bytes of tensors that a call holds at a time.

    What stands before it (weights, input) is not counted. On a CPU every
    allocation is recorded, as PyTorch counts them on a GPU: the resident set
    of the process would also show what the allocator keeps.
    """
    gc.collect()
    if device.type == 'cuda':
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        call()
        return torch.cuda.max_memory_allocated(device) - before
    with profile(
        activities=[ProfilerActivity.CPU], profile_memory=True
    ) as recorded:
        call()
    changes = sorted(
        (event.start_ns(), event.nbytes())
        for event in recorded.profiler.kineto_results.events()
        if event.name() == '[memory]'
    )
    held = peak = 0
    for _, change in changes:
        held += change
        peak = max(peak, held)
    return peak


def device_name(device: torch.device) -> str:
    """What the device is called, as far as it tells."""
    if device.type == 'cuda':
        return torch.cuda.get_device_name(device)
    info = Path('/proc/cpuinfo')
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith('model name'):
                return line.partition(':')[2].strip()
    return platform.processor()
