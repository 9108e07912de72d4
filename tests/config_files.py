# Copyright (c) mmfft authors. All rights reserved.
"""What the tests of the configs share."""

import copy
import functools
import logging
import re
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / 'configs').glob('[!_]*/*.py')
    # What stands there tests the models of the others.
    if path.parent.name != 'robustness'
)


_read = functools.cache(Config.fromfile)


def load(config):
    """A config of this checkout, which a test may change."""
    return copy.deepcopy(_read(ROOT / config))


@functools.cache
def build(config):
    """Its model, without memory for the weights."""
    cfg = load(config)
    init_default_scope(cfg.default_scope)
    model = cfg.model.copy()
    if 'data_preprocessor' in cfg:  # of a classifier, as mmpretrain's Runner
        model.setdefault('data_preprocessor', cfg.data_preprocessor)
    with torch.device('meta'):
        return MODELS.build(model)


def batch_of(config):
    """GPUs, images a GPU and accumulated batches that a file name tells."""
    match = re.search(r'_(\d+)xb(\d+)(?:-accum(\d+))?', config)
    if match is None:
        assert config.endswith('_coco.py'), config
        return 8, 2, 1
    return int(match[1]), int(match[2]), int(match[3] or 1)


class quiet:
    """mmengine logs a line for every parameter of an optimizer."""

    def __enter__(self):
        logging.disable(logging.WARNING)

    def __exit__(self, *args):
        logging.disable(logging.NOTSET)
