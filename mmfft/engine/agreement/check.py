# Copyright (c) mmfft authors. All rights reserved.
"""Find what does not fit, and end a training that would be wrong."""

import logging
from collections.abc import Sequence

from mmengine.config import Config
from mmengine.logging import print_log

from ...errors import ConfigError
from ...openmmlab.scopes import enter_scope
from ..features import build_on_meta, run_parts
from .channels import channels, idle_weights, image_channels
from .classes import class_names, palettes, same_order
from .classification import classification, old_mixup
from .detection import detection
from .loaders import loaders
from .schedules import schedules
from .segmentation import segmentation
from .settings import Disagreement, data_sets

TOOLBOXES = dict(
    mmpretrain=classification, mmdet=detection, mmseg=segmentation
)


def check_agreement(cfg: Config) -> None:
    """Check before training that a config agrees with itself.

    What may be meant so is only logged.

    Args:
        cfg (Config): Config from :func:`.load_config`.

    Raises:
        ConfigError: If settings cannot work together; one line for each.
    """
    found = find_disagreements(cfg, ('train', 'val'))
    for where, what, certain in found:
        if not certain:
            print_log(f'{where}: {what}', 'current', level=logging.WARNING)
    wrong = [f'{where}: {what}' for where, what, certain in found if certain]
    if wrong:
        raise ConfigError('\n  '.join(wrong))


def find_disagreements(
    cfg: Config, splits: Sequence[str] = ('train', 'val', 'test')
) -> list[Disagreement]:
    """Find settings of a config that do not fit each other.

    The model is built without memory for its weights, and the data sets
    without their annotations.

    Args:
        cfg (Config): Config of any toolbox; what belongs to mmpretrain, mmdet
            and mmseg is known.
        splits (Sequence[str]): Splits that will be used.

    Returns:
        list[Disagreement]: What does not fit.
    """
    if 'model' not in cfg:
        return []
    enter_scope(cfg)
    found = [*schedules(cfg), *old_mixup(cfg)]
    for split in splits:
        found += [*loaders(cfg, split), *palettes(cfg, split)]
    model = build_on_meta(cfg)
    if model is None:
        return found
    outs, parts = run_parts(model)
    found += channels(cfg, parts, model)
    found += idle_weights(cfg, model, outs, parts)
    data = {split: list(data_sets(cfg, split)) for split in splits}
    for one in (one for datasets in data.values() for one in datasets):
        found += class_names(one)
    found += image_channels(model)
    if not any('classes' in d.where for d in found):
        for cls in type(model).__mro__:
            check = TOOLBOXES.get(cls.__module__.partition('.')[0])
            if check:
                found += check(cfg, model, parts, data)
                break
        found += same_order(data)
    return list(dict.fromkeys(found))
