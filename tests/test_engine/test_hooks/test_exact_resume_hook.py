# Copyright (c) mmfft authors. All rights reserved.
"""A run resumed at any step equals the unbroken one, bit for bit."""

import json
import pickle
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import Dataset

from mmfft.engine.hooks.exact_resume_hook import SeededBatch

SAMPLES, BATCH = 17, 3
PER_EPOCH = 6


class Noisy(Dataset):
    """Draws from each generator that augmentations draw from."""

    metainfo = dict(classes=('a',))

    def __len__(self):
        return SAMPLES

    def __getitem__(self, index):
        drawn = [np.random.rand(), random.random(), torch.rand(()).item()]
        return dict(inputs=torch.tensor([float(index), *drawn]))


class Model(BaseModel):
    """Draws, keeps statistics, and learns."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 1)
        )

    def forward(self, inputs, mode='tensor'):
        y = self.layers(torch.stack(list(inputs)))
        return dict(loss=y.square().mean()) if mode == 'loss' else y


class Mean(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results += [y.item() for y in data_samples]

    def compute_metrics(self, results):
        return dict(acc=float(np.mean(results)))


def loader(workers=0, sampler='DefaultSampler', shuffle=True):
    return dict(
        batch_size=BATCH,
        num_workers=workers,
        persistent_workers=workers > 0,
        dataset=Noisy(),
        sampler=dict(type=sampler, shuffle=shuffle),
    )


EPOCHS = dict(by_epoch=True, max_epochs=3, val_interval=1)
ITERATIONS = dict(by_epoch=False, max_iters=16, val_interval=4)


def runner_of(work_dir, train_cfg, train_dataloader, name, **more):
    by_epoch = train_cfg['by_epoch']
    torch.manual_seed(0)
    return Runner(
        **{
            **dict(
                model=Model(),
                work_dir=str(work_dir),
                train_dataloader=train_dataloader,
                val_dataloader=loader(shuffle=False),
                val_evaluator=[Mean()],
                val_cfg=dict(),
                train_cfg=dict(train_cfg),
                optim_wrapper=dict(
                    type='OptimWrapper',
                    optimizer=dict(type='AdamW', lr=0.01),
                ),
                param_scheduler=[
                    dict(type='LinearLR', by_epoch=False, end=4),
                    dict(type='StepLR', by_epoch=by_epoch, step_size=2),
                ],
                custom_hooks=[
                    dict(type='EMAHook'),
                    dict(type='mmfft.ExactResumeHook'),
                ],
                default_hooks=dict(
                    checkpoint=dict(
                        type='mmfft.AtomicCheckpointHook',
                        by_epoch=False,
                        interval=1,
                        save_best='acc',
                        rule='greater',
                    )
                ),
                randomness=dict(seed=5),
                experiment_name=name,
                default_scope='mmengine',
            ),
            **more,
        }
    )


def same(ours, expected, path=''):
    """Equal to the last bit, but for what tells times and places."""
    if isinstance(expected, dict):
        assert ours.keys() == expected.keys(), path
        for key in expected:
            if str(key).split('/')[-1] in ('time', 'data_time', 'eta'):
                continue
            if key in ('cfg', 'experiment_name', 'last_ckpt', 'best_ckpt'):
                continue
            same(ours[key], expected[key], f'{path}.{key}')
    elif isinstance(expected, (list, tuple)):
        assert len(ours) == len(expected), path
        for one, other in zip(ours, expected):
            same(one, other, path)
    elif isinstance(expected, torch.Tensor):
        assert torch.equal(ours, expected), path
    elif hasattr(expected, 'data') and not np.isscalar(expected):
        same(list(ours.data[0]), list(expected.data[0]), path)
        same(list(ours.data[1]), list(expected.data[1]), path)
    else:
        # NaN where NaN was.
        assert ours == expected or (ours != ours and expected != expected), (
            path
        )


def state(folder, step):
    return torch.load(folder / f'iter_{step}.pth', weights_only=False)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Without what takes longer than these runs do."""
    monkeypatch.setattr('os.fsync', lambda descriptor: None)
    monkeypatch.setattr('mmengine.runner.runner.collect_env', dict)


INFINITE = dict(sampler='InfiniteSampler')
CASES = {
    'epochs': (EPOCHS, {}, (1, 5, 6, 7, 12, 17)),
    'iterations': (ITERATIONS, INFINITE, (1, 8, 15)),
    'iterations of a finite sampler': (ITERATIONS, {}, (5, 6, 13)),
}


@pytest.mark.parametrize('case', CASES)
def test_resumed_is_unbroken(case, tmp_path):
    train_cfg, data, stops = CASES[case]
    straight = tmp_path / 'straight'
    runner_of(straight, train_cfg, loader(**data), f'{case} 0').train()
    end = 3 * PER_EPOCH if train_cfg is EPOCHS else 16
    expected = state(straight, end)
    assert set(expected) >= {'ema_state_dict', 'param_schedulers'}
    assert expected['message_hub']['log_scalars'].keys() >= {'train/loss'}
    for stop, workers in [*((stop, 0) for stop in stops), (stops[-2], 2)]:
        folder = tmp_path / f'{stop} {workers}'
        runner_of(
            folder,
            train_cfg,
            # Who loads the data makes no difference.
            loader(**data, workers=workers),
            f'{case} {stop} {workers}',
            resume=True,
            load_from=str(straight / f'iter_{stop}.pth'),
            # The seed of the checkpoint counts.
            randomness=dict(seed=None),
        ).train()
        for step in {stop + 1, end}:
            same(state(folder, step), state(straight, step))


class Killed(BaseException):
    pass


class Kill(Hook):
    """Ends the run the first time that it comes to a validation."""

    def before_val_epoch(self, runner):
        if runner.epoch == 2:
            raise Killed


def test_a_validation_that_was_cut_short_is_made_up_for(tmp_path):
    def run(folder, name, *hooks, **more):
        checkpoint = dict(
            type='mmfft.AtomicCheckpointHook',
            by_epoch=True,
            interval=1,
            max_keep_ckpts=1,
            save_best='acc',
            rule='greater',
        )
        exact = dict(type='mmfft.ExactResumeHook')
        runner_of(
            tmp_path / folder,
            EPOCHS,
            loader(),
            name,
            default_hooks=dict(checkpoint=checkpoint),
            custom_hooks=[exact, *hooks],
            **more,
        ).train()

    run('straight', 'one')
    with pytest.raises(Killed):
        run('resumed', 'two', Kill())
    (torn := tmp_path / 'resumed' / 'epoch_3.pth').write_bytes(b'PK')
    run('resumed', 'three', resume=True)
    names = sorted(f.name for f in (tmp_path / 'straight').glob('*.pth'))
    assert names == sorted(f.name for f in torn.parent.glob('*.pth'))
    for name in names:
        ours, expected = (
            torch.load(tmp_path / folder / name, weights_only=False)
            for folder in ('resumed', 'straight')
        )
        same(ours, expected)
    scalars = ours['message_hub']['log_scalars']
    assert len(scalars['val/acc'].data[0]) == 2


def test_an_epoch_of_another_length_starts_over(tmp_path, caplog):
    runner_of(tmp_path, EPOCHS, loader(), 'before').train()
    data = dict(loader(), batch_size=6)
    runner = runner_of(
        tmp_path / 'new',
        EPOCHS,
        data,
        'after',
        resume=True,
        load_from=str(tmp_path / 'iter_8.pth'),
    )
    runner.train()
    # Two whole epochs of three batches after the eight that were.
    assert runner.iter == 8 + 2 * 3


def test_samples_are_seeded_where_they_are_loaded():
    batch = pickle.loads(pickle.dumps(SeededBatch([5, 7], (1, 2, 3))))
    assert len(batch) == 2

    def draws(batch):
        return [(i, random.random(), np.random.rand()) for i in batch]

    first = draws(batch)
    assert [index for index, *_ in first] == [5, 7]
    assert first[0][1:] != first[1][1:]
    assert draws(batch) == first
    assert draws(SeededBatch([5, 7], (1, 2, 4))) != first
    # On the way to a worker nothing is drawn or seeded.
    random.seed(0)
    expected = random.random()
    random.seed(0)
    pickle.dumps(batch)
    assert random.random() == expected


@pytest.mark.slow
def test_killed_for_real(tmp_path):
    """The smallest campaign: three kills of a training by the command line."""
    result = subprocess.run(
        [
            sys.executable,
            ROOT / 'tests' / 'soak' / 'kills.py',
            *('--toolbox', 'cls', '--epochs', '2', '--out', tmp_path),
            *('--kills', '3', '--rank-kills', '0'),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert result.returncode == 0, result.stdout[-4000:]
    (record,) = json.loads(next(tmp_path.glob('*/records.json')).read_text())
    assert record['kills'] == 3 and record['finished_runs']
    assert not record['differences'] and not record['lost_runs']
    assert record['torn_files'] == 0
