# Copyright (c) mmfft authors. All rights reserved.
"""How the test of a config brings an image to its model."""

from collections.abc import Callable, Sequence

import numpy as np
from mmcv.transforms import LoadAnnotations, LoadImageFromFile
from mmengine.config import Config
from mmengine.registry import TRANSFORMS

from ..errors import ConfigError
from .scopes import class_of, is_subclass, leaf_datasets


def image_steps(cfg: Config) -> list[dict]:
    """Test pipeline of a config, for an image on this disk without labels.

    Args:
        cfg (Config): Config of mmpretrain, mmdet or mmseg.

    Returns:
        list[dict]: Configs of its transforms.

    Raises:
        ConfigError: If the config has no test.
    """
    loader = cfg.get('test_dataloader')
    if not loader:
        raise ConfigError(
            'the image is loaded as by test_dataloader, which the config does '
            'not have'
        )
    steps = []
    for step in next(leaf_datasets(loader['dataset']))['pipeline']:
        cls = class_of(TRANSFORMS, step, cfg)
        if is_subclass(cls, LoadImageFromFile):
            step = {k: step[k] for k in step if k != 'backend_args'}
        if not is_subclass(cls, LoadAnnotations):
            steps.append(step)
    return steps


def loading_step(cfg: Config) -> dict:
    """The step of a config's test pipeline that reads an image's file.

    Args:
        cfg (Config): Config of mmpretrain, mmdet or mmseg.

    Returns:
        dict: Config of a ``LoadImageFromFile`` or of a class derived from it.

    Raises:
        ConfigError: If there is no such step, or no test.
    """
    steps = image_steps(cfg)
    for step in steps:
        if is_subclass(class_of(TRANSFORMS, step, cfg), LoadImageFromFile):
            return step
    names = ', '.join(str(step['type']) for step in steps)
    raise ConfigError(
        'the test pipeline must have a step that reads the file of an image, '
        f'LoadImageFromFile or a class derived from it, got {names}'
    )


def loads_bgr(steps: Sequence[dict]) -> bool:
    """Whether a pipeline loads images as BGR, as OpenCV does.

    Args:
        steps (Sequence[dict]): Configs of its transforms.
    """
    # tifffile alone leaves the order of the bands as it is in the file.
    return not any(s.get('imdecode_backend') == 'tifffile' for s in steps)


def image_reader(steps: Sequence[dict]) -> Callable[[str], np.ndarray]:
    """Make a function that reads an image as a pipeline does.

    Args:
        steps (Sequence[dict]): Configs of the transforms of the pipeline. The
            first ones are called, up to that which loads the image.

    Returns:
        Callable[[str], np.ndarray]: Function of a path that returns the
        image. It raises a :class:`ConfigError` if no step loads one.
    """
    transforms = [TRANSFORMS.build(step) for step in steps]

    def read(path: str) -> np.ndarray:
        results = dict(img_path=path)
        for transform in transforms:
            results = transform(results)
            if 'img' in results:
                return results['img']
        names = ', '.join(type(one).__name__ for one in transforms)
        raise ConfigError(
            f'image {path!r} cannot be drawn: no step of the test pipeline '
            f'loads it, got {names}'
        )

    return read
