# Copyright (c) mmfft authors. All rights reserved.
"""The one place from which kernels are started."""

import torch
from torch import Tensor


def launch(
    kernel,
    programs: int | tuple[int, ...],
    *args,
    num_warps: int,
    num_stages: int = 1,
    **sizes,
) -> None:
    """Start a kernel on the device of its first argument.

    Other than PyTorch's own operators, Triton starts kernels on the current
    device, which need not be the one that holds the tensors.

    Args:
        kernel (triton.JITFunction): The kernel; it writes into its first
            arguments and reads the others. A tensor that it changes in place
            is given twice.
        programs (int | tuple[int, ...]): Number of programs, along several
            axes if need be; nothing is started for 0.
        *args (Tensor | int | None): Arguments of the kernel.
        num_warps (int): Number of warps of a program.
        num_stages (int): Depth of the pipelines that Triton makes of loops.
            The default, 1, keeps tables out of them, which otherwise take
            more shared memory than there is.
        **sizes: Constants of the kernel.
    """
    grid = programs if isinstance(programs, tuple) else (programs,)
    if 0 in grid:
        return
    first = args[0]
    assert isinstance(first, Tensor)
    with torch.cuda.device_of(first):
        kernel[grid](
            *args, num_warps=num_warps, num_stages=num_stages, **sizes
        )


def num_parallel(device: torch.device) -> int:
    """Number of programs that keep a GPU busy.

    A kernel that adds something up starts about as many, each of which works
    on several images: every one writes a part of the sum.
    """
    if device.type != 'cuda':
        return 4  # in the interpreter, one after the other
    return 2 * torch.cuda.get_device_properties(device).multi_processor_count
