# Copyright (c) mmfft authors. All rights reserved.
"""Loading that never executes a pickle, for a whole process."""

import os

from .allowed import register_allowed_globals

_hardened = False


def harden() -> None:
    """Let no ``torch.load`` of this process execute what is in a file.

    It holds whatever the caller of ``torch.load`` says: PyTorch's own switch
    is set, also for processes that this one starts, and the switch against it
    is removed. A file may hold what :func:`allowed_globals` names besides
    tensors. mmengine's
    loaders, where it is installed, read by :func:`load_checkpoint_file`. All
    command lines of mmfft call it; importing mmfft does not.
    """
    global _hardened
    os.environ.pop('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', None)
    os.environ['TORCH_FORCE_WEIGHTS_ONLY_LOAD'] = '1'
    register_allowed_globals()
    _hardened = True


def is_hardened() -> bool:
    """Whether :func:`harden` was called."""
    return _hardened
