# Copyright (c) mmfft authors. All rights reserved.
"""One training step and one validation step of a config, before a long run."""

import contextlib
import logging
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.logging import print_log
from mmengine.optim import (
    OptimWrapper,
    build_optim_wrapper,
)
from mmengine.registry import EVALUATOR
from mmengine.runner import Runner
from torch import nn

from ..errors import ConfigError
from ..openmmlab.scopes import class_name, enter_scope, toolbox
from .agreement import find_disagreements
from .models import build_model
from .quiet import quiet

# Enough for BN on pooled features; those of detectors are large.
_MOST_SAMPLES, _MOST_OF_DETECTOR = 2, 1
# Where metrics write files.
_OUTPUTS = ('outfile_prefix', 'output_dir', 'out_file_path', 'out_dir')


class Failure(NamedTuple):
    """Why a step of the trial cannot be done.

    Args:
        where (str): What was being done, such as ``'training pipeline'``.
        what (str): Reason, and what to change if that is known.
    """

    where: str
    what: str


def check_config(cfg: Config, trial: bool = True) -> list[Failure]:
    """Check what of a config can be checked without reading all data.

    See :func:`find_disagreements` and :func:`try_steps`, which is left out
    if settings already disagree. What may be meant so is only logged.

    Args:
        cfg (Config): Config from :func:`load_config`.
        trial (bool): Whether to try a step. Defaults to True.

    Returns:
        list[Failure]: What would end a run, or make it wrong.
    """
    failures = []
    for where, what, certain in find_disagreements(cfg):
        if certain:
            failures.append(Failure(where, what))
        else:
            print_log(f'{where}: {what}', 'current', level=logging.WARNING)
    if failures or not trial:
        return failures
    print_log('Trying a training step and a validation step on the CPU')
    return try_steps(cfg)


def try_steps(cfg: Config) -> list[Failure]:
    """Train and validate a config on a few samples, on the CPU.

    One batch passes the training pipeline, the ``data_preprocessor``, the
    model forwards and backwards, and the optimizer; another one the
    validation pipeline, the model and the metrics. Data sets are loaded and
    filtered as in the run. Weights are random, and nothing is kept: what
    metrics write goes to a temporary folder.

    Args:
        cfg (Config): Config of any toolbox.

    Returns:
        list[Failure]: What a run would end with; of each of the two steps,
        only the first failure.
    """
    enter_scope(cfg)
    with tempfile.TemporaryDirectory() as folder, _seeded():
        cfg = _shortened(cfg, folder)
        failures: list[Failure] = []
        model = _attempt(failures, 'model', lambda: _initialized(cfg))
        if model is None:
            return failures
        for split, step in [('train', _train), ('val', _validate)]:
            if cfg.get(f'{split}_dataloader'):
                step(cfg, model, failures)
        return failures


@contextlib.contextmanager
def _seeded() -> Iterator[None]:
    state = np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        np.random.seed(0)
        try:
            yield
        finally:
            np.random.set_state(state)


def _shortened(cfg: Config, folder: str) -> Config:
    """Copy of a config that is read in this process and writes nothing."""
    cfg = deepcopy(cfg)
    detects = toolbox(cfg) == 'mmdet'
    most = _MOST_OF_DETECTOR if detects else _MOST_SAMPLES
    for split in ('train', 'val'):
        loader = cfg.get(f'{split}_dataloader')
        if not loader:
            continue
        loader['num_workers'] = 0
        for key in ('persistent_workers', 'pin_memory'):
            loader[key] = False
        for key in ('prefetch_factor', 'timeout'):
            loader.pop(key, None)
        if 'batch_size' in loader:
            loader['batch_size'] = min(most, loader['batch_size'])
        # Some batch samplers have a batch size of their own.
        sampler = loader.get('batch_sampler') or {}
        if 'batch_size' in sampler:
            sampler['batch_size'] = min(most, sampler['batch_size'])
    _predict_something(cfg.model.get('test_cfg') or {})
    evaluator = cfg.get('val_evaluator') or []
    for metric in evaluator if isinstance(evaluator, list) else [evaluator]:
        for key in set(_OUTPUTS) & set(metric):
            if metric[key]:
                name = os.path.basename(str(metric[key])) or 'out'
                metric[key] = str(Path(folder) / name)
    return cfg


def _predict_something(test_cfg: dict) -> None:
    """Let a detector with random weights predict boxes, but not too many.

    Without any, mmdet's metrics return before they look at the annotations.
    """
    for key, value in test_cfg.items():
        if isinstance(value, dict):
            _predict_something(value)
        elif key == 'score_thr':
            test_cfg[key] = 0.0
        elif key in ('nms_pre', 'max_per_img') and value > 0:
            test_cfg[key] = min(100, value)


def _initialized(cfg: Config) -> nn.Module:
    """The model as a run starts it, except for weights from files."""
    drop_pretrained(cfg.model)
    model = build_model(cfg)
    model.init_weights()
    return model


def drop_pretrained(cfg: dict | list | tuple) -> None:
    """Drop what loads weights from files from ``init_cfg``, in place.

    Args:
        cfg (dict | list | tuple): Settings of a model or of a part of it,
            with those of the modules inside.
    """
    for value in cfg.values() if isinstance(cfg, dict) else cfg:
        if isinstance(value, (dict, list, tuple)):
            drop_pretrained(value)
    if isinstance(cfg, dict) and 'init_cfg' in cfg:
        many = cfg['init_cfg']
        many = many if isinstance(many, (list, tuple)) else [many]
        files = ('Pretrained', 'PretrainedInit')
        kept = [one for one in many if class_name(one) not in files]
        if len(kept) < len(many):
            cfg['init_cfg'] = kept or None


def _train(cfg: Config, model: nn.Module, failures: list[Failure]) -> None:
    _, batch = _first_batch(cfg, 'train', failures)
    if batch is None:
        return
    model.train()

    def step():
        data = model.data_preprocessor(batch, True)
        return _forward(model, data, 'loss')

    losses = _attempt(failures, 'training step', step, model)
    if losses is None:
        return
    broken = [
        name
        for name, value in losses.items()
        for loss in (value if isinstance(value, (list, tuple)) else [value])
        if not bool(torch.isfinite(torch.as_tensor(loss)).all())
    ]
    if broken:
        failures.append(
            Failure(
                'training step',
                f'{", ".join(dict.fromkeys(broken))} is not finite on the '
                'first batch, with random weights: look at the values of its '
                'images and labels, and at mean and std of the '
                'data_preprocessor',
            )
        )
        return

    def update():
        total, _ = model.parse_losses(losses)
        wrapper = _optim_wrapper(cfg, model)
        with wrapper.optim_context(model):
            wrapper.update_params(total)

    _attempt(failures, 'optimizer step', update, model)


def _validate(cfg: Config, model: nn.Module, failures: list[Failure]) -> None:
    loader, batch = _first_batch(cfg, 'val', failures)
    if batch is None:
        return
    model.eval()

    def predict():
        with torch.no_grad():
            data = model.data_preprocessor(batch, False)
            return _forward(model, data, 'predict')

    outputs = _attempt(failures, 'validation step', predict, model)
    if outputs is None or not cfg.get('val_evaluator'):
        return

    def evaluate():
        evaluator = cfg.val_evaluator
        if isinstance(evaluator, dict) and 'metrics' in evaluator:
            evaluator = EVALUATOR.build(evaluator)
        else:
            evaluator = Evaluator(evaluator)
        evaluator.dataset_meta = getattr(loader.dataset, 'metainfo', None)
        evaluator.process(data_samples=outputs, data_batch=batch)
        return evaluator.evaluate(len(outputs))

    _attempt(failures, 'val_evaluator', evaluate)


def _first_batch(
    cfg: Config, split: str, failures: list[Failure]
) -> tuple[Any, Any]:
    """Dataloader of a split and its first batch, None for what fails."""
    name = 'training' if split == 'train' else 'validation'
    settings = cfg[f'{split}_dataloader']

    def load():
        loader = Runner.build_dataloader(settings, seed=0)
        if not len(loader.dataset):
            raise ConfigError(f'no sample: {_HINTS[0][1]}')
        return loader

    loader = _attempt(failures, f'{name} data', load)
    if loader is None:
        return None, None
    batch = _attempt(failures, f'{name} pipeline', lambda: next(iter(loader)))
    return loader, batch


def _forward(model: nn.Module, data: Any, mode: str) -> Any:
    if isinstance(data, dict):
        return model(**data, mode=mode)
    return model(*data, mode=mode)


def _optim_wrapper(cfg: Config, model: nn.Module) -> OptimWrapper:
    settings = deepcopy(cfg.optim_wrapper)
    if class_name(settings) == 'AmpOptimWrapper':
        # Mixed precision needs a GPU.
        settings['type'] = 'OptimWrapper'
        for key in ('loss_scale', 'dtype', 'use_fsdp'):
            settings.pop(key, None)
    return build_optim_wrapper(model, settings)


def _attempt(
    failures: list[Failure],
    where: str,
    do: Callable[[], Any],
    model: nn.Module | None = None,
) -> Any:
    """What a function returns, or None and one more failure."""
    try:
        with quiet():
            return do()
    except MemoryError:
        raise
    # Data sets, models and metrics raise errors of any kind.
    except Exception as error:
        failures.append(Failure(where, _reason(error, model)))
        return None


def _reason(error: Exception, model: nn.Module | None) -> str:
    text = ' '.join(str(error).split())
    if isinstance(error, ConfigError):
        return text
    what = f'{type(error).__name__}: {text}' if text else type(error).__name__
    place = _place(error, model)
    hint = next(
        (hint for pattern, hint in _HINTS if re.search(pattern, what)), ''
    )
    return what + (f' ({place})' if place else '') + (hint and f': {hint}')


def _place(error: Exception, model: nn.Module | None) -> str:
    """The part of the model or the transform that raised an error."""
    names = {id(m): n for n, m in model.named_modules()} if model else {}
    place = ''
    trace = error.__traceback__
    while trace is not None:
        frame = trace.tb_frame
        actor = frame.f_locals.get('self')
        if names.get(id(actor)):
            place = f'model.{names[id(actor)]}'
        elif callable(getattr(actor, 'transform', None)) or callable(
            getattr(actor, 'compute_metrics', None)
        ):
            place = type(actor).__name__
        last = (
            f'{os.path.basename(frame.f_code.co_filename)}:{trace.tb_lineno}'
        )
        trace = trace.tb_next
    return f'in {place}, {last}' if place else last


# What is said about errors that are frequent and whose words do not help.
_HINTS = [
    (
        'need at least one array to concatenate',
        'no sample was found, or the data set has filtered all: see its '
        'paths, the suffix of the files, filter_cfg, and the names of its '
        'classes (metainfo)',
    ),
    (r"KeyError: 'img'", 'the pipeline has no LoadImageFromFile'),
    (
        r"KeyError: 'inputs'",
        'the pipeline does not end with PackInputs, PackDetInputs or '
        'PackSegInputs',
    ),
    (
        'None is not a callable object',
        'a type in optim_wrapper is not registered',
    ),
    (
        r"KeyError: '?(gt_bboxes|gt_seg_map|gt_masks|gt_label)",
        'the pipeline has no LoadAnnotations that loads it',
    ),
    (
        r"has no attribute '_?(masks|bboxes|labels|gt_sem_seg|gt_label)'",
        'the pipeline does not load it: see LoadAnnotations (with_bbox, '
        'with_mask) and the annotations',
    ),
    (
        r"KeyError: 'iscrowd'",
        'COCO\'s metric needs "iscrowd" (0 or 1) in each annotation: add '
        '"iscrowd": 0',
    ),
    (
        r"KeyError: '?(\w+) is not in results|KeyError: 'segm",
        'the model predicts no masks: leave segm out of the metric',
    ),
    (
        r'Target \S+ is out of bounds|Class values must be smaller',
        'a label is larger than num_classes - 1',
    ),
    (
        r'Expected more than 1 value per channel',
        'BN needs more than one image in a batch: raise batch_size, or set '
        "norm_cfg=dict(type='GN', num_groups=32)",
    ),
    (
        r'Results do not correspond to current coco set',
        'ann_file of val_evaluator is not that of the val data set',
    ),
]
