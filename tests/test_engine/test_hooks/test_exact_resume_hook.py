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
from mmengine.hooks import Hook
from tiny_runs import (
    EPOCHS,
    ITERATIONS,
    PER_EPOCH,
    loader,
    runner_of,
    same,
    state,
)

from mmfft.engine.hooks.exact_resume_hook import SeededBatch

pytestmark = pytest.mark.usefixtures('quick_runs')


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
