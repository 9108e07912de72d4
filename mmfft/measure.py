# Copyright (c) mmfft authors. All rights reserved.
"""Time and peak memory of calls, measured side by side."""

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
CPU_INFO = Path('/proc/cpuinfo')


def time_in_turns(
    contenders: dict[str, Callable[[], object]],
    device: torch.device,
    rounds: int,
) -> dict[str, list[float]]:
    """Measure the time of each contender in interleaved rounds.

    In each round every contender runs once, or several times if it is short,
    so that other work on the machine affects all of them. The order rotates
    from round to round. Two calls of each before the first round warm up.

    Args:
        contenders (dict[str, Callable]): Functions to call, by name.
        device (torch.device): Device on which they run; work on a GPU is
            waited for.
        rounds (int): Number of measurements of each.

    Returns:
        dict[str, list[float]]: By name, the seconds per call in each round.
    """
    repeats = {}
    for name, call in contenders.items():
        call()
        once = _seconds(call, device)
        repeats[name] = max(1, int(_LEAST_SECONDS / once))
    names = list(contenders)
    seconds = {name: [] for name in names}
    for turn in range(rounds if names else 0):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            seconds[name].append(
                _seconds(contenders[name], device, repeats[name])
            )
    return seconds


def compare(
    contenders: dict[str, Callable[[], object]],
    device: torch.device,
    rounds: int,
) -> dict[str, dict]:
    """Measure time and peak memory of each contender.

    Args:
        contenders (dict[str, Callable]): Functions to call, by name.
        device (torch.device): Device on which they run.
        rounds (int): Number of measurements of the time of each.

    Returns:
        dict[str, dict]: By name, ``seconds`` (median), ``fastest`` and
        ``memory`` (peak bytes allocated in a call), or ``error`` if memory
        ran out.
    """
    results = {}
    for name, call in contenders.items():
        try:
            call()
            results[name] = dict(memory=peak_memory(call, device))
        except RuntimeError as error:
            if not _out_of_memory(error):
                raise
            results[name] = dict(error='out of memory')
        clear(device)
    run = {
        name: call
        for name, call in contenders.items()
        if 'error' not in results[name]
    }
    for name, seconds in time_in_turns(run, device, rounds).items():
        results[name]['seconds'] = statistics.median(seconds)
        results[name]['fastest'] = min(seconds)
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
    """Wait until all work on a GPU is done."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


def clear(device: torch.device) -> None:
    """Free memory that is no longer used."""
    gc.collect()
    if device.type == 'cuda':
        torch.cuda.empty_cache()


def _out_of_memory(error: RuntimeError) -> bool:
    text = str(error).lower()
    return 'out of memory' in text or "can't allocate memory" in text


def peak_memory(call: Callable[[], object], device: torch.device) -> int:
    """Measure the most bytes of tensors that a call holds at a time.

    Tensors that exist before the call (weights, input) are not counted. On a
    CPU every allocation is recorded, as PyTorch counts them on a GPU: the
    resident set of the process would also include what the allocator keeps.
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
    """Name of the device, as far as the system reports it."""
    if device.type == 'cuda':
        return torch.cuda.get_device_name(device)
    if CPU_INFO.exists():
        for line in CPU_INFO.read_text().splitlines():
            if line.startswith('model name'):
                return line.partition(':')[2].strip()
    return platform.processor()
