# Copyright (c) mmfft authors. All rights reserved.
"""A resumed run follows its config, and says where that has changed."""

import pytest
import torch
from tiny_runs import EPOCHS, PER_EPOCH, loader, runner_of, same, warnings_of

pytestmark = pytest.mark.usefixtures('quick_runs')


def cosine(epochs, warmup=4, **more):
    return [
        dict(type='LinearLR', by_epoch=False, end=warmup, start_factor=0.1),
        dict(
            type='CosineAnnealingLR',
            T_max=epochs,
            end=epochs,
            by_epoch=True,
            **more,
        ),
    ]


def wrapper(lr=0.01, weight_decay=0.01, **more):
    # Many groups, of two kinds.
    return dict(
        type='OptimWrapper',
        optimizer=dict(type='AdamW', lr=lr, weight_decay=weight_decay, **more),
        paramwise_cfg=dict(
            norm_decay_mult=0.0, custom_keys={'layers.3': dict(lr_mult=0.5)}
        ),
    )


def run(folder, epochs, schedule, resume=None, save=(), **more):
    more = dict(optim_wrapper=wrapper()) | more
    if resume:
        more |= dict(resume=True, load_from=str(resume))
    runner = runner_of(
        folder,
        dict(EPOCHS, max_epochs=epochs, val_interval=100),
        loader(),
        str(folder),
        param_scheduler=schedule,
        default_hooks=dict(
            checkpoint=dict(
                type='mmfft.AtomicCheckpointHook', interval=1, **dict(save)
            )
        ),
        custom_hooks=[dict(type='mmfft.ExactResumeHook')],
        **more,
    )
    warned = warnings_of(runner)
    rates = runner.message_hub.get_scalar('train/lr').data[0].tolist()
    return runner, warned, rates


def settings(runner):
    groups = runner.optim_wrapper.param_groups
    return [{k: v for k, v in g.items() if k != 'params'} for g in groups]


NEW = {
    'longer': dict(schedule=cosine(4)),
    'by iterations': dict(schedule=cosine(4, convert_to_iter_based=True)),
    'shorter warmup and a floor': dict(
        schedule=cosine(4, warmup=2, eta_min=1e-3)
    ),
    'fewer': dict(schedule=cosine(4)[1:]),
    'others': dict(
        schedule=[
            dict(type='MultiStepLR', milestones=[1, 3], by_epoch=True),
            dict(type='CosineAnnealingMomentum', T_max=20, by_epoch=False),
        ]
    ),
    'another rate': dict(schedule=cosine(2), optim_wrapper=wrapper(lr=0.02)),
    'none': dict(schedule=None),
}


@pytest.mark.parametrize('recorded', [True, False])
def test_the_schedule_is_that_of_the_config(recorded, tmp_path):
    run(tmp_path / 'old', 2, cosine(2))
    file = tmp_path / 'old' / 'epoch_2.pth'
    if not recorded:
        checkpoint = torch.load(file, weights_only=False)
        del checkpoint['meta']['place_in_the_data']['settings']
        torch.save(checkpoint, file)
    for name, new in NEW.items():
        if not recorded and name not in ('longer', 'others', 'none'):
            continue
        whole, warned, expected = run(tmp_path / f'{name} 0', 4, **new)
        assert 'followed' not in warned, name
        resumed, warned, rates = run(tmp_path / name, 4, resume=file, **new)
        done = 2 * PER_EPOCH
        assert rates[done:] == expected[done:], name
        same(settings(resumed), settings(whole))
        assert warned.count('is followed from epoch 2, iteration 12 on') == 1
        if name == 'longer':
            assert 'the schedule of the checkpoint was\n' in warned
            assert 'T_max=2' in warned and 'T_max=4' in warned
            assert ', at lr 0.005' in warned
            assert '(the checkpoint: lr 0.005)' in warned
        if name == 'none':
            assert 'the config is\n    none' in warned
            assert ', at lr 0.01 (the checkpoint: lr 0.005)' in warned
        if name != 'others':
            continue
        # From now on, the new ones are those of the checkpoints.
        last = tmp_path / name / 'epoch_3.pth'
        _, warned, rates = run(tmp_path / f'{name} 2', 4, resume=last, **new)
        assert rates[18:] == expected[18:]
        assert 'followed' not in warned, name


def test_by_iterations(tmp_path):
    def train(folder, iterations, **more):
        runner = runner_of(
            folder,
            dict(by_epoch=False, max_iters=iterations, val_interval=100),
            loader(),
            str(folder),
            param_scheduler=[
                dict(type='LinearLR', by_epoch=False, end=3),
                dict(type='PolyLR', by_epoch=False, begin=3, end=iterations),
            ],
            custom_hooks=[dict(type='mmfft.ExactResumeHook')],
            default_hooks=dict(
                checkpoint=dict(
                    type='mmfft.AtomicCheckpointHook',
                    by_epoch=False,
                    interval=8,
                )
            ),
            **more,
        )
        warned = warnings_of(runner)
        return warned, runner.message_hub.get_scalar('train/lr').data[0]

    train(tmp_path / 'old', 8)
    _, expected = train(tmp_path / 'whole', 16)
    file = str(tmp_path / 'old' / 'iter_8.pth')
    warned, rates = train(tmp_path / 'new', 16, resume=True, load_from=file)
    assert rates[8:].tolist() == expected[8:].tolist()
    assert 'is followed from iteration 8 on' in warned


def test_settings_of_the_optimizer(tmp_path):
    run(tmp_path / 'old', 2, None)
    file = tmp_path / 'old' / 'epoch_1.pth'
    _, warned, _ = run(tmp_path / 'same', 2, None, resume=file)
    assert 'settings' not in warned
    new = dict(lr=0.002, weight_decay=0.3, betas=(0.8, 0.9))
    resumed, warned, rates = run(
        tmp_path / 'new', 2, None, resume=file, optim_wrapper=wrapper(**new)
    )
    assert 'lr 0.01 -> 0.002' in warned and 'from epoch 1' in warned
    assert 'weight_decay 0.01 -> 0.3' in warned
    assert 'betas [0.9, 0.999] -> [0.8, 0.9]' in warned
    assert rates[-1] == 0.002
    groups = resumed.optim_wrapper.optimizer.param_groups
    assert {group['lr'] for group in groups} == {0.002, 0.001}
    assert {group['weight_decay'] for group in groups} == {0.3, 0.0}
    assert {group['betas'] for group in groups} == {(0.8, 0.9)}


def test_schedules_that_were_not_saved(tmp_path):
    _, _, expected = run(tmp_path / 'whole', 3, cosine(3))
    run(tmp_path / 'old', 3, cosine(3), save=dict(save_param_scheduler=False))
    file = tmp_path / 'old' / 'epoch_1.pth'
    _, warned, rates = run(tmp_path / 'new', 3, cosine(3), resume=file)
    assert 'save_param_scheduler=False' in warned
    assert rates == expected


def test_nothing_is_left_to_train(tmp_path):
    run(tmp_path / 'old', 2, cosine(2))
    file = tmp_path / 'old' / 'epoch_2.pth'
    runner, warned, _ = run(tmp_path / 'a', 2, cosine(2), resume=file)
    assert runner.epoch == 2
    assert 'Nothing is left to train: 2 of train_cfg.max_epochs=2' in warned
    # Longer, while the schedule is the one that has ended.
    runner, warned, _ = run(tmp_path / 'b', 3, cosine(2), resume=file)
    assert runner.epoch == 3
    assert 'max_epochs was 2 and is 3, but the schedules' in warned
    assert 'have ended: lr 0.005 to the end' in warned


def test_a_schedule_that_depends_on_results(tmp_path):
    def plateau(patience):
        return [
            dict(
                type='ReduceOnPlateauLR',
                monitor='acc',
                rule='greater',
                patience=patience,
            )
        ]

    run(tmp_path / 'old', 2, plateau(1))
    file = tmp_path / 'old' / 'epoch_2.pth'
    runner, warned, _ = run(tmp_path / 'same', 2, plateau(1), resume=file)
    assert 'followed' not in warned
    best = runner.param_schedulers[0].best
    runner, warned, _ = run(tmp_path / 'new', 2, plateau(5), resume=file)
    assert 'patience=1' in warned and 'patience=5' in warned
    assert runner.param_schedulers[0].patience == 5
    assert runner.param_schedulers[0].best == best
