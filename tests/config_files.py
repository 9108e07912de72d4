# Copyright (c) mmfft authors. All rights reserved.
"""Helpers for the tests of the configs."""

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
    # Configs there only test models that other configs have trained.
    if path.parent.name != 'robustness'
)


_read = functools.cache(Config.fromfile)


def load(config):
    """Load a config of this checkout, which a test may change."""
    return copy.deepcopy(_read(ROOT / config))


@functools.cache
def build(config):
    """Build the model of a config on the meta device."""
    cfg = load(config)
    init_default_scope(cfg.default_scope)
    model = cfg.model.copy()
    if 'data_preprocessor' in cfg:  # a classifier, as in mmpretrain's Runner
        model.setdefault('data_preprocessor', cfg.data_preprocessor)
    with torch.device('meta'):
        return MODELS.build(model)


def batch_of(config):
    """Read GPUs, images per GPU and accumulated batches from a file name."""
    match = re.search(r'_(\d+)xb(\d+)(?:-accum(\d+))?', config)
    if match is None:
        assert config.endswith('_coco.py'), config
        return 8, 2, 1
    return int(match[1]), int(match[2]), int(match[3] or 1)


class quiet:
    """Suppress the line that mmengine logs for each parameter group."""

    def __enter__(self):
        logging.disable(logging.WARNING)

    def __exit__(self, *args):
        logging.disable(logging.NOTSET)
