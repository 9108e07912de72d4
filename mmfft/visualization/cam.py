# Copyright (c) mmfft authors. All rights reserved.
"""Class activation maps with mmpretrain's own tool."""

import runpy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import mmpretrain
from torch import Tensor

from ..models import FourierBackbone

SCRIPT = Path('.mim', 'tools', 'visualization', 'vis_cam.py')


def load_vis_cam() -> SimpleNamespace:
    """Load mmpretrain's ``vis_cam.py`` and tell it our features' layout.

    It takes what has four dimensions for ``(B, C, H, W)``; layers inside of a
    backbone of mmfft give ``(B, H, W, C)``.

    Returns:
        SimpleNamespace: The functions of the script, above all ``main()``,
        which reads the command line.

    Raises:
        ImportError: If grad-cam is not installed, or mmpretrain came without
            its tools.
    """
    path = Path(mmpretrain.__file__).parent / SCRIPT
    if not path.is_file():
        raise ImportError(f'mmpretrain came without its tools: no {path}')
    try:
        names = runpy.run_path(str(path))
    except ImportError as error:
        raise ImportError(
            f'maps cannot be computed ({error}): pip install "mmfft[vis]"'
        ) from error
    # main() looks its functions up in the script's own names.
    own = names['main'].__globals__
    own['reshape_transform'] = _channels_first(own['reshape_transform'])
    return SimpleNamespace(**own)


def _channels_first(otherwise: Callable) -> Callable:
    def reshape_transform(tensor: Tensor, model, args) -> Tensor:
        if isinstance(model.backbone, FourierBackbone) and tensor.dim() == 4:
            return tensor.permute(0, 3, 1, 2)
        return otherwise(tensor, model=model, args=args)

    return reshape_transform
