# Copyright (c) mmfft authors. All rights reserved.
"""Class activation maps with mmpretrain's own tool."""

import difflib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import cv2
from mmengine.config import Config
from torch import Tensor, nn

from ..errors import ConfigError
from ..models import FourierBackbone
from ..openmmlab.config_names import config_file
from ..openmmlab.inference import require_loaded
from ..openmmlab.scopes import leaf_datasets, toolbox
from ..openmmlab.scripts import load_script


def load_vis_cam() -> SimpleNamespace:
    """Load mmpretrain's ``vis_cam.py``, adapted to our layout of features.

    The script takes features of four dimensions for ``(B, C, H, W)``; layers
    inside a backbone of mmfft return ``(B, H, W, C)``. What the user can mend
    becomes a :class:`.ConfigError`: a file or layer that does not exist, a
    config that is not for a classifier, or weights that the checkpoint of a
    model with a backbone of mmfft lacks.

    Returns:
        SimpleNamespace: The functions of the script, above all ``main()``,
        which reads the command line.

    Raises:
        ImportError: If grad-cam is not installed, or mmpretrain was installed
            without its tools.
    """
    try:
        names = load_script('mmpretrain', 'visualization/vis_cam.py')
    except ModuleNotFoundError as error:
        raise ImportError(
            f'class activation maps cannot be computed ({error}): pip install '
            '"mmfft[vis]"'
        ) from error
    # main() looks up its functions in the globals of the script.
    own = names['main'].__globals__
    own['parse_args'] = _with_files(own['parse_args'])
    own['Config'] = SimpleNamespace(fromfile=_read_classifier)
    own['get_layer'] = _named_layer
    own['reshape_transform'] = _channels_first(own['reshape_transform'])
    own['get_model'] = _loaded(own['get_model'])
    own['show_cam_grad'] = _shown(own['show_cam_grad'])
    return SimpleNamespace(**own)


def _with_files(otherwise: Callable) -> Callable:
    def parse_args():
        try:
            args = otherwise()
        except ValueError as error:
            raise ConfigError(f'--method: {error}') from error
        for what in ('img', 'config', 'checkpoint'):
            path = getattr(args, what)
            if what == 'config':
                path = config_file(path)
            if '://' not in str(path) and not Path(path).is_file():
                raise ConfigError(f'{what} {str(path)!r} does not exist')
        return args

    return parse_args


def _read_classifier(path: str) -> Config:
    cfg = Config.fromfile(config_file(path))
    if toolbox(cfg) != 'mmpretrain':
        raise ConfigError(
            'class activation maps are for classifiers of mmpretrain, and '
            f'{str(path)!r} is a config of {toolbox(cfg)}'
        )
    if not cfg.get('test_dataloader'):
        raise ConfigError(
            'the image is loaded as by test_dataloader, which the config does '
            'not have'
        )
    # The script does not look into wrappers of data sets.
    cfg.test_dataloader.dataset = next(
        leaf_datasets(cfg.test_dataloader.dataset)
    )
    return cfg


def _named_layer(name: str, model: nn.Module) -> nn.Module:
    layers = dict(model.named_modules())
    if name not in layers:
        close = ', '.join(difflib.get_close_matches(name, layers, n=5))
        raise ConfigError(
            f'--target-layers: the model has no layer {name!r}'
            + (f'; similar names: {close}' if close else '')
        )
    return layers[name]


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
        try:
            return otherwise(tensor, model=model, args=args)
        except (AssertionError, ValueError) as error:
            raise ConfigError(f'--target-layers: {error}') from error

    return reshape_transform


def _shown(otherwise: Callable) -> Callable:
    def show_cam_grad(*args, **kwargs) -> None:
        try:
            otherwise(*args, **kwargs)
        except cv2.error as error:
            raise ConfigError(
                'no window can be opened here: write the picture to a file '
                'with --save-path'
            ) from error

    return show_cam_grad
