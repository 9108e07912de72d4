# Copyright (c) mmfft authors. All rights reserved.
"""Class activation maps with mmpretrain's own tool."""

import runpy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import mmpretrain
from torch import Tensor

from ..models import FourierBackbone
from ..openmmlab.inference import require_loaded

SCRIPT = Path('.mim', 'tools', 'visualization', 'vis_cam.py')


def load_vis_cam() -> SimpleNamespace:
    """Load mmpretrain's ``vis_cam.py``, adapted to our layout of features.

    The script takes features of four dimensions for ``(B, C, H, W)``; layers
    inside a backbone of mmfft return ``(B, H, W, C)``. It draws maps of a
    model although weights are missing in its checkpoint; here that is a
    :class:`ConfigError` for models with a backbone of mmfft.

    Returns:
        SimpleNamespace: The functions of the script, above all ``main()``,
        which reads the command line.

    Raises:
        ImportError: If grad-cam is not installed, or mmpretrain was installed
            without its tools.
    """
    path = Path(mmpretrain.__file__).parent / SCRIPT
    if not path.is_file():
        raise ImportError(
            f'mmpretrain was installed without its tools: {path} does not '
            'exist'
        )
    try:
        names = runpy.run_path(str(path))
    except ImportError as error:
        raise ImportError(
            f'class activation maps cannot be computed ({error}): pip install '
            '"mmfft[vis]"'
        ) from error
    # main() looks up its functions in the globals of the script.
    own = names['main'].__globals__
    own['reshape_transform'] = _channels_first(own['reshape_transform'])
    own['get_model'] = _loaded(own['get_model'])
    return SimpleNamespace(**own)


def _loaded(get_model: Callable) -> Callable:
    def get_loaded_model(*args, **kwargs):
        model = get_model(*args, **kwargs)
        require_loaded(model)
        return model

    return get_loaded_model


def _channels_first(otherwise: Callable) -> Callable:
    def reshape_transform(tensor: Tensor, model, args) -> Tensor:
        if isinstance(model.backbone, FourierBackbone) and tensor.dim() == 4:
            return tensor.permute(0, 3, 1, 2)
        return otherwise(tensor, model=model, args=args)

    return reshape_transform
