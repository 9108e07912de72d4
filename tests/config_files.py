# Copyright (c) mmfft authors. All rights reserved.
"""Helpers for the tests of the configs."""

import copy
import functools
import logging
import re
import sys
from pathlib import Path

import torch
from conftest import small_data
from mmengine import registry as registries
from mmengine.config import Config, DictAction
from mmengine.registry import MODELS, init_default_scope

from mmfft.openmmlab.scopes import class_of

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


DEMO = dict(
    mmpretrain='configs/demo/cdfformer-nano_1xb32-6e_digit-crops.py',
    mmdet='configs/demo/mask-rcnn_cdfformer-nano_fpn_1xb4-3e_digit-scenes.py',
    mmseg='configs/demo/cdfformer-nano_fpn_1xb2-2k_digit-scenes-192x256.py',
)


def load_small(toolbox, digit_scenes):
    """Load a config of the demo for a few pictures."""
    cfg = load(DEMO[toolbox])
    for option in small_data(toolbox, digit_scenes):
        key, value = option.split('=')
        cfg.merge_from_dict({key: DictAction._parse_iterable(value)})
    return cfg


def load_tiny(toolbox, digit_scenes):
    """Load a config of the demo for a few pictures, with few narrow layers."""
    cfg = load_small(toolbox, digit_scenes)
    model = cfg.model
    dims = [8, 16, 16, 16]
    model.backbone.arch = dict(embed_dims=dims, depths=[1, 1, 1, 1])
    if toolbox == 'mmpretrain':
        model.head.in_channels = dims[-1]
    else:
        model.neck.in_channels = dims
    if toolbox == 'mmdet':
        model.test_cfg.rpn.max_per_img = 30
        model.test_cfg.rcnn.max_per_img = 20
    return cfg


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
    if config.startswith('configs/custom/'):
        images = dict(cls=16, det=2, ins=4, seg=4)
        return 1, images[Path(config).stem[:3]], 1
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


AS_NAMES = ('norm_cfg', 'act_cfg', 'init_cfg')
REGISTRIES = [
    getattr(registries, name)
    for name in (
        'MODELS DATASETS TRANSFORMS DATA_SAMPLERS METRICS HOOKS LOOPS '
        'OPTIMIZERS OPTIM_WRAPPERS PARAM_SCHEDULERS TASK_UTILS VISUALIZERS '
        'VISBACKENDS FUNCTIONS'
    ).split()
]


def _exporter(cls):
    """Package that exports a class, from which users import it."""
    *package, _ = cls.__module__.split('.')
    public = '.'.join(package)
    is_public = getattr(sys.modules[public], cls.__name__, None) is cls
    return public if is_public else cls.__module__


def write_new_style(cfg, file, default_scope=None):
    """Write a config in pure Python, where each ``type`` is a class.

    Names in ``AS_NAMES`` stay: the toolboxes compare them as strings.
    """
    imports = {}

    def class_name(kind):
        for registry in REGISTRIES:
            cls = class_of(registry, kind, cfg)
            if cls is not None:
                where = _exporter(cls), cls.__name__
                return imports.setdefault(
                    where, f'{cls.__name__}{len(imports)}'
                )
        return repr(kind)

    def text(value):
        if isinstance(value, dict):
            if value.get('type') == 'RandomResize':
                # By default it would look for Resize in no toolbox's scope.
                value = dict(value, resize_type='Resize')
            pairs = (
                f'{key!r}: {class_name(v)}'
                if key in ('type', 'resize_type') and isinstance(v, str)
                else f'{key!r}: {v!r}'
                if key in AS_NAMES
                else f'{key!r}: {text(v)}'
                for key, v in value.items()
            )
            return '{' + ', '.join(pairs) + '}'
        if isinstance(value, (list, tuple)):
            return f'{type(value).__name__}([{", ".join(map(text, value))}])'
        return repr(value)

    settings = cfg.to_dict()
    settings['default_scope'] = default_scope
    lines = [
        f'{key} = {text(v)}'
        for key, v in settings.items()
        if key not in (*AS_NAMES, 'custom_imports')
    ]
    heads = [
        f'from {module} import {name} as {as_name}'
        for (module, name), as_name in imports.items()
    ]
    file.write_text('\n'.join([*heads, *lines]) + '\n')
