# Copyright (c) mmfft authors. All rights reserved.
"""Runs over data with broken files, in each toolbox, data loaded by workers.

A model of one number stands for the recipe's; data, batches and hooks are
the recipe's own.
"""

import shutil
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from mmdet.engine.hooks import PipelineSwitchHook
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from mmengine.registry import MODELS, DefaultScope
from spoilt_images import write

from mmfft.datasets.bad_samples import BadSampleError, WatchedPipeline
from mmfft.engine import (
    BadSamplesHook,
    apply_train_options,
    build_runner,
    load_config,
)
from mmfft.errors import ConfigError

RECIPES = dict(
    cls='gfnet/gfnet-xs_8xb128_in1k.py',
    det='cdfformer/retinanet_cdfformer-s18_fpn_1x_coco.py',
    seg='dfformer/dfformer-s18_fpn_8xb4-40k_ade20k-512x512.py',
)
IMAGES = dict(
    cls='imagenet/{split}',
    det='coco/{split}2017',
    seg='ade/ADEChallengeData2016/images/{split}',
)
SMALL = dict(
    cls={},
    det={'train_dataloader.dataset.pipeline.2.scale': (128, 96)},
    seg={
        'model.data_preprocessor.size': (96, 128),
        'train_dataloader.dataset.pipeline.2.scale': (128, 96),
        'train_dataloader.dataset.pipeline.3.crop_size': (96, 128),
    },
)
FULL = dict(train='training', val='validation')


@MODELS.register_module(force=True)
class OneNumber(BaseModel):
    """Scales images; its loss is their mean."""

    def __init__(self, data_preprocessor):
        super().__init__(data_preprocessor=data_preprocessor)
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, inputs, data_samples=None, mode='tensor'):
        y = self.scale * inputs.float().mean()
        return dict(loss=y) if mode == 'loss' else data_samples


@pytest.fixture
def data(data_layouts, tmp_path, monkeypatch):
    """A copy of the data that a test may spoil."""
    shutil.copytree(data_layouts, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(DefaultScope, '_instance_dict', {})
    monkeypatch.setattr(MMLogger, '_instance_dict', {})
    return tmp_path / 'data'


def images(task, data, split='train'):
    name = FULL[split] if task == 'seg' else split
    folder = data / IMAGES[task].format(split=name)
    return sorted(p for p in folder.rglob('*.*') if p.is_file())


def runner(task, workers=2, epochs=2, validate=False, **options):
    cfg = load_config(
        str(ROOT / 'configs' / RECIPES[task]), 'work', SMALL[task] | options
    )
    preprocessor = cfg.get('data_preprocessor') or {}
    if task == 'cls':
        preprocessor = dict(preprocessor, type='ClsDataPreprocessor')
    else:
        preprocessor = cfg.model.data_preprocessor
    cfg.model = dict(type='OneNumber', data_preprocessor=preprocessor)
    for split in ('train', 'val')[: 1 + validate]:
        cfg[f'{split}_dataloader'].update(
            num_workers=workers, persistent_workers=workers > 0, batch_size=4
        )
    cfg.optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01))
    apply_train_options(cfg, no_validate=not validate)
    cfg.param_scheduler = []
    if task == 'seg':
        cfg.train_cfg.update(max_iters=2 * epochs, val_interval=100)
    else:
        cfg.train_cfg.update(max_epochs=epochs, val_interval=100)
    cfg.randomness = dict(seed=0)
    cfg.default_hooks.logger.interval = 1
    return build_runner(cfg)


def log_of(run):
    path = Path(run.log_dir) / f'{run.timestamp}.log'
    return path.read_text()


@pytest.mark.parametrize('task', RECIPES)
def test_a_run_goes_on_and_names_each_once(task, data):
    bad = images(task, data)[1:4]
    for image, kind in zip(bad, ('truncated', 'empty', 'missing')):
        write(image, kind, 32, 32)
    run = runner(task, epochs=3)
    run.train()
    said = [line for line in log_of(run).splitlines() if 'bad sample' in line]
    # The det scenes without a box are filtered out before they are read.
    names = {i.name for i in bad if any(i.name in line for line in said)}
    assert len(said) == len(names) >= 2
    assert 'bad sample 1 (at most 100) left out' in said[0]


def test_good_data_trains_as_without_the_hook(data):
    with_hook = runner('cls', workers=1, epochs=1)
    without = runner('cls', workers=1, epochs=1)
    without._hooks = [
        h for h in without.hooks if not isinstance(h, BadSamplesHook)
    ]
    results = []
    for run in (with_hook, without):
        assert any(isinstance(h, BadSamplesHook) for h in run.hooks) == (
            run is with_hook
        )
        run.train()
        results.append(run.model.scale.detach().clone())
    assert torch.equal(*results)


@pytest.mark.parametrize('workers', [0, 2])
def test_beyond_the_limit_it_stops_with_the_list(workers, data):
    bad = images('cls', data)[:3]
    for image in bad:
        image.unlink()
    limit = {'default_hooks.bad_samples.max_bad': 2}
    run = runner('cls', workers, **limit)
    with pytest.raises(BadSampleError) as error:
        run.train()
    said = str(error.value)
    # No traceback of a worker before it.
    assert said.startswith('more than max_bad=2 samples cannot be used:\n')
    assert all(said.count(f'{image.name}: File') == 1 for image in bad)


@pytest.mark.parametrize('workers', [0, 1])
@pytest.mark.parametrize('task', RECIPES)
def test_validation_does_not_leave_samples_out(task, workers, data):
    image = images(task, data, 'val')[0]
    image.write_bytes(b'')
    run = runner(task, workers, validate=True)
    with pytest.raises(BadSampleError) as error:
        run.val()
    assert str(error.value).startswith('a sample cannot be used:\n')
    assert image.name in str(error.value)


@pytest.mark.parametrize('workers', [0, 2])
def test_a_mistake_of_the_config_stops_at_once(workers, data):
    """In whichever worker, and not as one bad sample after the other."""
    steps = 'train_dataloader.dataset.pipeline'
    options = {f'{steps}.0.imdecode_backend': 'unknown'}
    run = runner('cls', workers, **options)
    with pytest.raises(BadSampleError) as error:
        run.train()
    said = str(error.value)
    assert said.startswith('no sample could be used, and 10 failed in the ')
    assert 'ValueError: backend: unknown is not supported' in said
    assert run.iter == 0 and 'left out' not in log_of(run)


class Switch(Hook):
    """Sets a pipeline as mmdet's PipelineSwitchHook does, but after ours."""

    priority = 'LOWEST'

    def __init__(self, switch):
        self.switch = switch

    def before_train_epoch(self, runner):
        self.switch.before_train_epoch(runner)


@pytest.mark.parametrize('workers', [0, 1])
def test_a_pipeline_that_a_hook_sets_is_watched(workers, data):
    bad = images('cls', data)[0]
    bad.write_bytes(b'')
    run = runner('cls', workers, epochs=4)
    steps = run.cfg.train_dataloader.dataset.pipeline
    run.register_hook(Switch(PipelineSwitchHook(1, steps)))
    run.train()
    lines = [i for i in log_of(run).splitlines() if 'left out' in i]
    assert len(lines) == 1 and bad.name in lines[0]
    dataset = run.train_dataloader.dataset
    assert (workers > 0) or isinstance(dataset.pipeline, WatchedPipeline)


@pytest.mark.parametrize('max_bad', [-1, 0.5, None])
def test_the_limit_is_a_number(max_bad):
    with pytest.raises(ConfigError, match=f'max_bad .* got {max_bad}'):
        BadSamplesHook(max_bad)
