# Copyright (c) mmfft authors. All rights reserved.
from typing import NoReturn

from torch import nn


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
