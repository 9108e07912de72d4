# Copyright (c) mmfft authors. All rights reserved.
import logging
import math
from datetime import timedelta
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from tiny_models import build, loss_of
from torch import nn

from mmfft.engine import build_runner, load_config
from mmfft.errors import ConfigError
from mmfft.mmcv_ops import describe
from mmfft.ops import use_path


@pytest.fixture
def connected(monkeypatch):
    """What a process group is opened with, instead of opening it."""
    calls = []
    monkeypatch.setattr(
        'torch.distributed.init_process_group',
        lambda backend, timeout: calls.append((backend, timeout)),
    )
    monkeypatch.setattr(
        'mmengine.runner.Runner.from_cfg',
        lambda cfg: SimpleNamespace(logger=logging.getLogger('runner')),
    )
    return calls


def launched(**cfg):
    return Config(
        dict(launcher='pytorch', env_cfg=dict(dist_cfg=dict()), **cfg)
    )


def test_processes_without_a_gpu_talk_over_gloo(no_gpu, connected, capsys):
    norm = dict(type='SyncBN', requires_grad=True)
    model = dict(
        head=dict(norm_cfg=norm),
        necks=[dict(norm_cfg=dict(norm)), dict(norm_cfg=dict(type='GN'))],
    )
    cfg = launched(model=model)
    build_runner(cfg)
    assert connected == [('gloo', None)]
    assert cfg.model_wrapper_cfg.device_ids is None
    assert not cfg.model_wrapper_cfg.find_unused_parameters
    assert cfg.model.head.norm_cfg == dict(type='BN', requires_grad=True)
    assert [n.norm_cfg.type for n in cfg.model.necks] == ['BN', 'GN']
    assert '2 SyncBN' in capsys.readouterr().out
    cfg.env_cfg.dist_cfg.timeout = 60
    build_runner(cfg)
    assert connected[1] == ('gloo', timedelta(minutes=1))
    assert capsys.readouterr().out == ''


@pytest.mark.parametrize(
    'kind', ['mmengine.SyncBN', 'torch.nn.SyncBatchNorm', nn.SyncBatchNorm]
)
def test_a_synchronized_norm_in_each_form(no_gpu, connected, kind):
    cfg = launched(model=dict(norm_cfg=dict(type=kind)))
    cfg.env_cfg = cfg.model_wrapper_cfg = None
    build_runner(cfg)
    assert cfg.model.norm_cfg.type == 'BN'
    assert cfg.model_wrapper_cfg.device_ids is None


def test_the_wrapper_is_not_kept_in_a_dumped_config(
    no_gpu, connected, tmp_path
):
    cfg = launched()
    build_runner(cfg)
    assert 'model_wrapper_cfg' in cfg
    cfg.dump(tmp_path / 'dumped.py')
    options = dict(find_unused_parameters=True)
    again = load_config(str(tmp_path / 'dumped.py'), cfg_options=options)
    assert 'model_wrapper_cfg' not in again
    again.launcher = 'pytorch'
    build_runner(again)
    assert again.model_wrapper_cfg.find_unused_parameters


def test_mmengine_connects_processes_with_gpus(gpu, connected, caplog):
    cfg = launched(model=dict(norm_cfg=dict(type='SyncBN')))
    with caplog.at_level(logging.INFO):
        assert build_runner(cfg).logger.name == 'runner'
    # Every run says what it runs with.
    assert f'mmcv ops: {describe()}' in caplog.text
    assert connected == [] and 'model_wrapper_cfg' not in cfg
    assert cfg.model.norm_cfg.type == 'SyncBN'


def test_launchers_that_need_a_gpu(no_gpu, connected):
    with pytest.raises(ConfigError, match="'slurm' needs a GPU"):
        build_runner(Config(dict(launcher='slurm')))


def test_plans_of_the_fft_are_limited(connected, monkeypatch):
    caches = [SimpleNamespace(max_size=n) for n in (4096, 64, 0, 2000, 4096)]
    monkeypatch.setattr(torch.backends.cuda, 'cufft_plan_cache', caches)
    monkeypatch.setattr('torch.cuda.device_count', lambda: 4)
    build_runner(Config(dict(launcher='none')))
    # Limits that were set stay, and so do GPUs that there are not.
    assert [c.max_size for c in caches] == [512, 64, 0, 2000, 4096]


def test_a_size_of_images_takes_eight_plans(monkeypatch):
    """One for each stage and direction, however many blocks and passes."""
    plans = set()

    def noting(name):
        transform = getattr(torch.fft, name)

        def note(x, *args, **kwargs):
            y = transform(x, *args, **kwargs)
            *batch, height, width = (x if name == 'rfft2' else y).shape
            plans.add((name, math.prod(batch), height, width))
            return y

        return note

    for name in ('rfft2', 'irfft2'):
        monkeypatch.setattr(torch.fft, name, noting(name))
    model = build('dfformer')
    with use_path('fft'):  # as on a GPU
        for i, shape in enumerate([(2, 64, 64), (2, 64, 96), (1, 64, 64)], 1):
            batch, *size = shape
            loss_of(model(torch.randn(batch, 3, *size))).backward()
            assert len(plans) == 8 * i
