# Copyright (c) mmfft authors. All rights reserved.
"""What must be the same on two machines for equal numbers."""

from collections.abc import Iterator

import torch
from mmengine.device import get_device
from mmengine.dist import get_world_size


def arithmetic() -> dict[str, str | int]:
    """Describe what the numbers of a run depend on besides its config.

    Returns:
        dict[str, str | int]: Values by the names that a warning has for them.
        A run on a GPU does not depend on the CPU.
    """
    found = dict(processes=get_world_size(), PyTorch=str(torch.__version__))
    device = get_device()
    if device == 'cuda':
        return found | dict(GPU=torch.cuda.get_device_name())
    if device != 'cpu':
        return found | dict(device=device)
    return found | dict(
        CPU=torch.backends.cpu.get_cpu_capability(),
        threads=torch.get_num_threads(),
    )


def changed_arithmetic(before: dict[str, str | int]) -> Iterator[str]:
    """Say why a resumed run has other numbers than an uninterrupted one.

    Args:
        before (dict[str, str | int]): :func:`arithmetic` of the run that
            saved the checkpoint; empty if it was not recorded.

    Yields:
        str: A warning.
    """
    if not before:
        return
    now = arithmetic()
    changed = {
        name: f'{name} {before.get(name, "none")} -> {now.get(name, "none")}'
        for name in dict.fromkeys([*before, *now])
        if before.get(name) != now.get(name)
    }
    processes = changed.pop('processes', None)
    if processes:
        yield (
            f'--resume: {processes}: a step has another number of images, '
            'for which --auto-scale-lr can scale the learning rate'
        )
    if changed:
        how = ''
        if 'threads' in changed and 'threads' in before:
            how = f'; set OMP_NUM_THREADS={before["threads"]} to prevent it'
        yield (
            f'--resume: {", ".join(changed.values())}: sums are rounded '
            'otherwise, so that the weights will differ from those of an '
            f'uninterrupted run, at first in the seventh digit{how}'
        )
