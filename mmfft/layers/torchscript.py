# Copyright (c) mmfft authors. All rights reserved.
"""What TorchScript can do with these modules: trace them at one size."""

from typing import NoReturn

import torch
from torch import Tensor, nn


def refuse_script(module: nn.Module) -> NoReturn:
    """What a class calls ``__prepare_scriptable__``: TorchScript asks it.

    Args:
        module (nn.Module): To be compiled.

    Raises:
        NotImplementedError: In any case.
    """
    raise NotImplementedError(
        f'torch.jit.script cannot compile {type(module).__name__}: use '
        'torch.jit.trace for one image size, torch.export for any'
    )


def fix_traced_size(name: str, size: int | Tensor) -> int:
    """A size as a number, from which the traced graph takes no other one.

    Args:
        name (str): Of the size, for the error that the graph raises.
        size (int | Tensor): A tensor while ``torch.jit.trace`` runs.

    Returns:
        int: Its value.
    """
    if not isinstance(size, Tensor):
        return size
    _require_size(name, size, traced := int(size))
    return traced


@torch.jit.script_if_tracing
def _require_size(name: str, size: Tensor, traced: int) -> Tensor:
    if int(size) != traced:
        raise RuntimeError(
            f'{name} is {int(size)}, but it was {traced} when this module '
            'was traced: trace it at every size, or use torch.export'
        )
    return size  # the tracer records no function that returns nothing
