# Copyright (c) mmfft authors. All rights reserved.
"""The one place from which kernels are started."""

import torch
from torch import Tensor


def launch(
    kernel, programs: int, *args, num_warps: int, num_stages: int = 1, **sizes
) -> None:
    """Start a kernel on the device of its first argument.

    Other than PyTorch's own operators, Triton starts kernels on the current
    device, which need not be the one that holds the tensors.

    Args:
        kernel (triton.JITFunction): The kernel; it writes into its first
            arguments and reads the others. A tensor that it changes in place
            is given twice.
        programs (int): Number of programs, nothing is started for 0.
        *args (Tensor | int): Arguments of the kernel.
        num_warps (int): Number of warps of a program.
        num_stages (int): Depth of the pipelines that Triton makes of loops.
            The default, 1, keeps tables out of them, which otherwise take
            more shared memory than there is.
        **sizes: Constants of the kernel.
    """
    if not programs:
        return
    first = args[0]
    assert isinstance(first, Tensor)
    with torch.cuda.device_of(first):
        kernel[(programs,)](
            *args, num_warps=num_warps, num_stages=num_stages, **sizes
        )
