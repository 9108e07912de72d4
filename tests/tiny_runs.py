# Copyright (c) mmfft authors. All rights reserved.
"""Trainings that take a moment, and the comparison of what they save."""

import logging
import random
import warnings

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import Dataset

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


def warnings_of(runner):
    """Train, and return all that is warned of."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        handler = _Kept(level='WARNING')
        runner.logger.addHandler(handler)
        runner.train()
        runner.logger.removeHandler(handler)
    return '\n'.join(handler.texts)


class _Kept(logging.Handler):
    def __init__(self, level):
        super().__init__(level)
        self.texts = []

    def emit(self, record):
        self.texts.append(record.getMessage())
