# Copyright (c) mmfft authors. All rights reserved.
"""Description of what a config does to an image before the network.

:class:`mmfft.runtime.preparation.Preparation` follows it.
"""

from collections.abc import Iterator

from mmcv.transforms import CenterCrop, LoadImageFromFile, Resize
from mmengine.config import Config
from mmengine.registry import MODELS, TRANSFORMS
from torch import nn

from ..errors import ConfigError
from ..openmmlab.scopes import (
    choose_by_scope,
    class_of,
    enter_scope,
    is_subclass,
    toolbox,
)
from ..openmmlab.test_pipeline import image_steps
from ..runtime.resizing import FILTERS

# Each toolbox's own last step, and its preprocessor of batches.
ENDS = dict(
    mmpretrain=('PackInputs', 'ClsDataPreprocessor'),
    mmdet=('PackDetInputs', 'DetDataPreprocessor'),
    mmseg=('PackSegInputs', 'SegDataPreProcessor'),
)


def normalization(cfg: Config) -> dict:
    """Describe how a config normalizes an image.

    Args:
        cfg (Config): Config of mmpretrain, mmdet or mmseg.

    Returns:
        dict: ``channel_order`` and, unless images are not normalized,
        ``mean`` and ``std``.
    """
    told = cfg.model.get('data_preprocessor') or cfg.get(
        'data_preprocessor', {}
    )
    swapped = any(told.get(k) for k in ('to_rgb', 'bgr_to_rgb'))
    values = dict(mean=told.get('mean'), std=told.get('std'))
    return dict(
        channel_order='RGB' if swapped == _reads_files(cfg) else 'BGR',
        **{k: list(v) for k, v in values.items() if v is not None},
    )


def _reads_files(cfg: Config) -> bool:
    """Whether OpenCV reads the images, as BGR; CIFAR's data set holds RGB."""
    if not cfg.get('test_dataloader'):
        return True
    kinds = [class_of(TRANSFORMS, step, cfg) for step in image_steps(cfg)]
    return any(is_subclass(kind, LoadImageFromFile) for kind in kinds)


def has_valid_sizes(cfg: Config, model: nn.Module) -> bool:
    """Whether a model's backbone is told where the padding of a batch begins.

    Args:
        cfg (Config): Config of mmpretrain, mmdet or mmseg.
        model (nn.Module): Its model.

    Returns:
        bool: True if the preprocessor is the one of mmfft for the toolbox.
    """
    _, own = choose_by_scope(cfg, ENDS)
    return type(model.data_preprocessor) is class_of(MODELS, f'mmfft.{own}')


def padding(cfg: Config, model: nn.Module) -> dict:
    """Describe to which size a model's preprocessor pads an image.

    One of mmfft hides the padding from the backbone, which a graph cannot: the
    same features are those of the image without padding.

    Args:
        cfg (Config): Config of mmpretrain, mmdet or mmseg.
        model (nn.Module): Its model.

    Returns:
        dict: ``padding``, unless there is none.

    Raises:
        ConfigError: If the preprocessor is not the toolbox's own.
    """
    _, own = choose_by_scope(cfg, ENDS)
    preprocessor = model.data_preprocessor
    if has_valid_sizes(cfg, model):
        return {}
    if type(preprocessor) is not class_of(MODELS, f'{toolbox(cfg)}.{own}'):
        raise ConfigError(
            f'data_preprocessor {type(preprocessor).__name__} cannot be '
            f'described, only {own}'
        )
    divisor, size = preprocessor.pad_size_divisor, None
    value = preprocessor.pad_value
    if own == 'SegDataPreProcessor':
        # The other settings are for training.
        test_cfg = preprocessor.test_cfg or {}
        size, divisor = test_cfg.get('size'), test_cfg.get('size_divisor')
        value = preprocessor.pad_val
    if size is not None:
        return dict(padding=dict(size=list(size), value=value))
    if divisor is not None and divisor > 1:
        return dict(padding=dict(divisor=divisor, value=value))
    return {}


def resizing(cfg: Config) -> list[dict]:
    """Describe the steps of a config's test that change an image's size.

    Args:
        cfg (Config): Config of mmpretrain, mmdet or mmseg.

    Returns:
        list[dict]: Steps, see :class:`mmfft.runtime.preparation.Preparation`.

    Raises:
        ConfigError: If the config has no test, or a step that cannot be
            described; the message names it.
    """
    enter_scope(cfg)
    return [
        description
        for step in image_steps(cfg)
        for description in _describe(cfg, step)
    ]


def _describe(cfg: Config, step: dict) -> Iterator[dict]:
    cls = class_of(TRANSFORMS, step, cfg)
    pack, _ = choose_by_scope(cfg, ENDS)
    if cls is class_of(TRANSFORMS, f'{toolbox(cfg)}.{pack}'):
        return
    transform = TRANSFORMS.build(step)
    if cls is LoadImageFromFile:
        _require(step, transform, color_type='color', to_float32=False)
        _require(step, transform, imdecode_backend='cv2')
    elif is_subclass(cls, Resize) and cls._resize_img is Resize._resize_img:
        # mmcv prefers the scale.
        if transform.scale is None:
            raise ConfigError(_cannot(step, 'has no scale'))
        scale = list(transform.scale)
        if transform.keep_ratio:
            target = dict(step='fit', long=max(scale), short=min(scale))
        else:
            target = dict(step='resize', size=scale[::-1])
        yield {**target, **_filter(step, transform)}
    elif cls is class_of(TRANSFORMS, 'mmpretrain.ResizeEdge'):
        target = dict(edge=transform.edge, length=transform.scale)
        yield dict(step='edge', **target, **_filter(step, transform))
    elif cls is CenterCrop:
        _require(step, transform, auto_pad=False)
        yield dict(step='center_crop', size=list(transform.crop_size)[::-1])
    elif cls is class_of(TRANSFORMS, 'mmseg.ResizeToMultiple'):
        divisor = transform.size_divisor
        transform.interpolation = transform.interpolation or 'bilinear'
        transform.backend = 'cv2'
        filter = _filter(step, transform)
        yield dict(step='multiple', divisor=divisor, **filter)
    else:
        raise ConfigError(_cannot(step, 'is not known'))


def _filter(step: dict, transform) -> dict:
    backend, interpolation = transform.backend, transform.interpolation
    known = FILTERS if backend == 'pillow' else ('bilinear',)
    if interpolation not in known:
        reason = f'resizes with {interpolation!r} of {backend!r}'
        raise ConfigError(_cannot(step, reason))
    return dict(backend=backend, interpolation=interpolation)


def _require(step: dict, transform, **values) -> None:
    for name, value in values.items():
        if getattr(transform, name) != value:
            reason = f'has {name}={getattr(transform, name)!r}'
            raise ConfigError(_cannot(step, reason))


def _cannot(step: dict, reason: str) -> str:
    return (
        f'step {step["type"]} of the test pipeline cannot be described, '
        f'because it {reason}'
    )
