# Copyright (c) mmfft authors. All rights reserved.
"""Say which kernels, or on a CPU which operators, take a model's time.

    python -m benchmarks.profile --models dfformer_s18 --sizes 800x1344

A row has the milliseconds that a call spends in one of them, its share of the
call and the number of its launches; the longest ones are written. The models
are those of ``benchmarks.backbones``.
"""

import sys
from itertools import product

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.backbones import Case, model_parser, sizes_of, variants
from benchmarks.common import Recorder, batches, text_of
from mmfft.measure import synchronize

WARM_UPS = 3
LONGEST = 15


def kernels(call, device: torch.device, rounds: int) -> list[dict]:
    """Profile calls.

    Args:
        call (Callable): Function to call.
        device (torch.device): Device on which it runs.
        rounds (int): Number of calls, of which the mean is returned.

    Returns:
        list[dict]: Rows of the kernels that take longest, in this order.
    """
    for _ in range(WARM_UPS):
        call()
    synchronize(device)
    kinds = [ProfilerActivity.CPU]
    if device.type == 'cuda':
        kinds.append(ProfilerActivity.CUDA)
    with profile(activities=kinds) as recorded:
        for _ in range(rounds):
            call()
        synchronize(device)
    kind = getattr(DeviceType, device.type.upper())
    unit = 'device' if device.type == 'cuda' else 'cpu'
    times = {
        event: getattr(event, f'self_{unit}_time_total')
        for event in recorded.key_averages()
        if event.device_type == kind
    }
    total = sum(times.values())
    longest = sorted(times, key=times.get, reverse=True)[:LONGEST]
    return [
        dict(
            kernel=event.key,
            ms=times[event] / rounds / 1e3,
            share=times[event] / total,
            launches=event.count / rounds,
        )
        for event in longest
    ]


def main(argv=None):
    p = model_parser(__doc__.splitlines()[0])
    args = p.parse_args(argv)
    if args.rounds < 1:
        p.error(f'--rounds {args.rounds}: must be at least 1')
    recorder = Recorder('profile', args, argv)
    names, _ = variants(args.models, recorder.device)
    for size, mode in product(sizes_of(args), args.mode):
        for batch, name in product(batches(args, size), names):
            case = Case(size, batch, mode == 'train', args)

            def run(case=case, name=name):
                [call] = case.calls(name)
                return kernels(call, recorder.device, args.rounds)

            recorder.case(
                dict(mode=mode, image=text_of(size), batch=batch, model=name),
                run,
            )
    return recorder.finish()


if __name__ == '__main__':
    sys.exit(main())
