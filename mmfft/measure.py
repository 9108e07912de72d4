# Copyright (c) mmfft authors. All rights reserved.
"""Time and peak memory of calls, measured side by side."""

import gc
import itertools
import platform
import statistics
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

# A call shorter than this is repeated within a round.
_LEAST_SECONDS = 0.02
# Warm-up ends with a call that takes more than this of the fastest before.
_SETTLED = 0.9
_MOST_WARM_UPS = 20
OUT_OF_MEMORY = 'out of memory'
CPU_INFO = Path('/proc/cpuinfo')


def time_in_turns(
    contenders: dict[str, Callable[[], object]],
    device: torch.device,
    rounds: int,
    clock: Callable[..., float] | None = None,
) -> dict[str, list[float]]:
    """Measure the time of each contender in interleaved rounds.

    In each round every contender runs once, or several times if it is short,
    so that other work on the machine affects all of them. The order rotates
    from round to round. Before the first round each is called until it no
    longer gets faster, and at least twice: kernels are compiled, algorithms
    chosen and memory allocated in the first calls.

    Args:
        contenders (dict[str, Callable]): Functions to call, by name.
        device (torch.device): Device on which they run; work on a GPU is
            waited for.
        rounds (int): Number of measurements of each.
        clock (Callable, optional): Function of a call, the device and a
            number of repeats to the seconds per call. Defaults to
            :func:`wall_seconds`.

    Returns:
        dict[str, list[float]]: By name, the seconds per call in each round.
    """
    clock = clock or wall_seconds
    repeats = {}
    for name, call in contenders.items():
        once = _warm_up(call, device)
        repeats[name] = max(1, int(_LEAST_SECONDS / once))
    names = list(contenders)
    seconds = {name: [] for name in names}
    for turn in range(rounds if names else 0):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            seconds[name].append(
                clock(contenders[name], device, repeats[name])
            )
    return seconds


def _warm_up(call: Callable[[], object], device: torch.device) -> float:
    """Call until it no longer gets faster; seconds of the fastest call."""
    fastest = wall_seconds(call, device)
    for _ in range(_MOST_WARM_UPS):
        before, last = fastest, wall_seconds(call, device)
        fastest = min(before, last)
        if last > _SETTLED * before:
            break
    return fastest


def compare(
    contenders: dict[str, Callable[[], Sequence[Callable[[], object]]]],
    device: torch.device,
    rounds: int,
    capture: bool = True,
) -> dict[str, dict]:
    """Measure time and peak memory of each contender.

    All contenders exist at the same time. On a CPU this is what makes their
    ratios trustworthy: they are measured in interleaved rounds. On a GPU,
    whose speed is steady and whose memory is scarce, compare them one at a
    time.

    A contender that fails, whenever it does, costs only itself.

    Args:
        contenders (dict[str, Callable]): By name, functions that prepare the
            calls of a contender: one, or several that do the same with other
            inputs and are called in turn.
        device (torch.device): Device on which they run.
        rounds (int): Number of measurements of the time of each. If 0, each
            is only called, which fills the caches of compilers.
        capture (bool): Whether to measure captured CUDA graphs too, on a GPU.
            Defaults to True.

    Returns:
        dict[str, dict]: By name, what :func:`failure` says, or ``memory``
        (peak bytes allocated in a call) and, of milliseconds per call, ``ms``
        (median) and ``fastest_ms``. On a GPU these are the time between two
        events around many calls, ``wall_ms`` is the median by the clock of
        the host, and ``graph_ms`` that of a captured graph, which has no gaps
        between kernels; ``graph_error`` says why there is none.
    """
    every = {name: _Contender(make) for name, make in contenders.items()}
    results = {}
    for name, call in every.items():
        call()
        results[name] = dict(memory=peak_memory(call, device))
    run = {name: call for name, call in every.items() if not call.failure}
    on_gpu = device.type == 'cuda'
    if rounds:
        clock = event_seconds if on_gpu else wall_seconds
        for name, times in time_in_turns(run, device, rounds, clock).items():
            results[name]['ms'] = 1e3 * statistics.median(times)
            results[name]['fastest_ms'] = 1e3 * min(times)
        if on_gpu:
            for name, times in time_in_turns(run, device, rounds).items():
                results[name]['wall_ms'] = 1e3 * statistics.median(times)
    for name, call in run.items():
        if rounds and on_gpu and capture and not call.failure:
            results[name].update(_graph(call.calls, device, rounds))
    failures = {n: c.failure for n, c in every.items() if c.failure}
    return {**results, **failures}


class _Contender:
    """The calls of a contender in turn, up to the first that fails."""

    def __init__(self, make):
        self.failure = None
        self.calls = []
        self._attempt(lambda: self.calls.extend(make()))
        self.turns = itertools.cycle(self.calls)

    def __call__(self):
        if self.failure is None:
            self._attempt(lambda: next(self.turns)())

    def _attempt(self, call):
        try:
            call()
        except Exception as error:
            self.failure = failure(error)


def failure(error: BaseException) -> dict:
    """What a row of results says of an error.

    Args:
        error (BaseException): The error.

    Returns:
        dict: ``error``, which is ``'out of memory'`` if memory ran out, and
        otherwise ``trace``, the last lines of the traceback.
    """
    if _out_of_memory(error):
        return dict(error=OUT_OF_MEMORY)
    lines = ''.join(traceback.format_exception(error)).strip().splitlines()
    message = f'{type(error).__name__}: {error}'
    return dict(error=message[:500], trace=lines[-8:])


def wall_seconds(
    call: Callable[[], object], device: torch.device, repeats: int = 1
) -> float:
    """Seconds per call by the clock of the host, until all work is done."""
    synchronize(device)
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    synchronize(device)
    return (time.perf_counter() - start) / repeats


def event_seconds(
    call: Callable[[], object], device: torch.device, repeats: int = 1
) -> float:
    """Seconds per call between two events on the current stream of a GPU."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(repeats):
        call()
    end.record()
    synchronize(device)
    return start.elapsed_time(end) / 1e3 / repeats


def _graph(
    calls: Sequence[Callable[[], object]], device: torch.device, rounds: int
) -> dict:
    """Measure one graph of all calls; see :func:`compare`."""
    try:
        graph = capture_graph(calls, device)
    except Exception as error:
        return dict(graph_error=failure(error)['error'])
    times = time_in_turns(dict(graph=graph.replay), device, rounds)['graph']
    return dict(graph_ms=1e3 * statistics.median(times) / len(calls))


def capture_graph(
    calls: Sequence[Callable[[], object]], device: torch.device
) -> 'torch.cuda.CUDAGraph':
    """Capture calls as one CUDA graph.

    Args:
        calls (Sequence[Callable]): Functions to call; each was called before.
        device (torch.device): Device on which they run.

    Returns:
        torch.cuda.CUDAGraph: The graph.

    Raises:
        RuntimeError: If a call waits for the GPU, which cannot be captured.
    """
    # Before the capture: one that fails may leave the allocator unusable.
    with no_synchronization():
        calls[0]()
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        for call in calls:
            call()
    synchronize(device)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        for call in calls:
            call()
    return graph


@contextmanager
def no_synchronization() -> Iterator[None]:
    """Raise a RuntimeError where the host waits for the GPU."""
    torch.cuda.set_sync_debug_mode('error')
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode('default')


def synchronize(device: torch.device) -> None:
    """Wait until all work on a GPU is done."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


def clear(device: torch.device) -> None:
    """Free memory that is no longer used."""
    gc.collect()
    if device.type == 'cuda':
        torch.cuda.empty_cache()


def _out_of_memory(error: BaseException) -> bool:
    text = str(error).lower()
    return OUT_OF_MEMORY in text or "can't allocate memory" in text


def peak_memory(call: Callable[[], object], device: torch.device) -> int:
    """Measure the most bytes of tensors that a call holds at a time.

    Tensors that exist before the call (weights, input) are not counted. A
    call must not free them: its peak would be too small by what it freed. On a
    CPU every allocation is recorded, as PyTorch counts them on a GPU: the
    resident set of the process would also include what the allocator keeps.
    """
    clear(device)
    if device.type == 'cuda':
        synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        call()
        synchronize(device)
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
