# Copyright (c) mmfft authors. All rights reserved.
"""What TorchScript can do with these modules: trace them at one size."""

from typing import NoReturn

import torch
from torch import Tensor, nn

from ..ops.dispatch import takes_plain_operators


def refuse_script(module: nn.Module) -> NoReturn:
    """Refuse to be compiled; classes have it as ``__prepare_scriptable__``.

    Args:
        module (nn.Module): Module that TorchScript is to compile.

    Raises:
        NotImplementedError: Always.
    """
    raise NotImplementedError(
        f'torch.jit.script cannot compile {type(module).__name__}: use '
        'torch.jit.trace for one image size, torch.export for any'
    )


def fix_traced_size(name: str, size: int) -> int:
    """Make the graph of ``torch.jit.trace`` refuse every other size.

    Args:
        name (str): Name of the size, for the error that the graph raises.
        size (int): The size, in the guise of a tensor while
            ``torch.jit.trace`` runs, or an exporter that traces in the same
            way but takes any size.

    Returns:
        int: A number, but for such an exporter.
    """
    if not isinstance(size, Tensor) or takes_plain_operators():
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
