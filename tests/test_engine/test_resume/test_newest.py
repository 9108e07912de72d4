# Copyright (c) mmfft authors. All rights reserved.
from itertools import count

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import CheckpointHook, Hook
from mmengine.registry import DATASETS, MODELS
from tiny_runs import (
    EPOCHS,
    ITERATIONS,
    Model,
    Noisy,
    loader,
    runner_of,
    warnings_of,
)

from mmfft.engine import apply_train_options, build_runner, find_newest
from mmfft.engine.resume import find_unfinished
from mmfft.engine.resume.newest import number_of
from mmfft.errors import ConfigError

pytestmark = pytest.mark.usefixtures('quick_runs')

TEMPLATES = [
    'epoch_{}.pth',
    'epoch_{}.pt',
    'epoch_{:03d}.pth',
    '{0}.pth',
    '{0:>5}-{0}.ckpt',
    'a_{{b}}_{:,}.pth',
    'epoch {:x}',
    'run/{:.1f}.pth',
    'e{}/weights.pth',
]


@pytest.mark.parametrize('template', TEMPLATES)
def test_numbers_of_names(template):
    for number in (0, 1, 9, 10, 255, 4000):
        assert number_of(template, template.format(number)) == number
    for other in ('best_acc_epoch_1.pth', 'epoch_1.onnx', 'x', ''):
        assert number_of(template, other) is None


NAMES = (f'run {number}' for number in count())


def run(
    folder, save=(), train_cfg=EPOCHS, resume=None, ends=None, cfg=None, **more
):
    hook = dict(type='mmfft.AtomicCheckpointHook', interval=1) | dict(save)
    cfg = cfg or Config(dict())
    apply_train_options(cfg, resume=resume)
    runner = runner_of(
        folder,
        dict(train_cfg, val_interval=100),
        loader(),
        next(NAMES),
        default_hooks=dict(checkpoint=hook),
        custom_hooks=[
            dict(type='mmfft.ExactResumeHook'),
            *([End(ends)] if ends else []),
        ],
        **cfg,
        **more,
    )
    said = []
    info = runner.logger.info
    runner.logger.info = lambda text, *args: said.append(str(text))
    try:
        runner.warned = warnings_of(runner)
    except InterruptedError:
        pass
    finally:
        runner.logger.info = info
    runner.said = '\n'.join(said)
    return runner


class End(Hook):
    """Break off at the end of an epoch."""

    priority = 'LOWEST'

    def __init__(self, epoch):
        self.epoch = epoch

    def after_train_epoch(self, runner):
        if runner.epoch + 1 == self.epoch:
            raise InterruptedError


@pytest.mark.parametrize('template', TEMPLATES[1::3])
def test_any_template(template, tmp_path):
    save = dict(filename_tmpl=template, max_keep_ckpts=1)
    run(tmp_path, save, ends=2)
    torn = tmp_path / template.format(3)
    torn.parent.mkdir(exist_ok=True)
    hidden = torn.with_name(f'.{torn.name}.tmp')
    for file in (torn, hidden):
        file.write_bytes(b'half')
    runner = run(tmp_path, save, resume='auto')
    assert 'resumed epoch: 2' in runner.said
    assert f'{torn}: torn' in runner.warned
    assert not hidden.exists() and torn.stat().st_size > 4


def test_it_never_starts_over_on_top(tmp_path):
    def refused(*reasons, **more):
        before = {f: f.stat().st_mtime_ns for f in tmp_path.rglob('*.*')}
        with pytest.raises(ConfigError) as raised:
            run(tmp_path, resume='auto', **more)
        for reason in reasons:
            assert reason in str(raised.value)
        for file, changed in before.items():
            if 'pth' in file.name:
                assert file.stat().st_mtime_ns == changed

    run(tmp_path, ends=2)
    by_iterations = dict(
        train_cfg=ITERATIONS, save=dict(by_epoch=False), param_scheduler=None
    )
    refused(
        'epoch_2.pth: not a checkpoint of this run, which has iter_{}.pth',
        **by_iterations,
    )
    refused('which has {0}.pt', save=dict(filename_tmpl='{0}.pt'))
    refused(
        'epoch_2.pth: named by ',
        f'but this run has {tmp_path}-elsewhere',
        save=dict(out_dir=f'{tmp_path}-elsewhere'),
    )
    # Both count with the same names.
    for file in tmp_path.glob('*.pth'):
        file.unlink()
    run(
        tmp_path,
        train_cfg=ITERATIONS,
        save=dict(by_epoch=False, interval=9, filename_tmpl='{}.pth'),
    )
    refused(
        'counts iterations (16 are done), this run counts epochs',
        save=dict(filename_tmpl='{}.pth'),
    )
    for file in tmp_path.glob('*.pth'):
        file.unlink()
    run(tmp_path, save=dict(save_optimizer=False), ends=2)
    refused(
        'epoch_2.pth: without optimizer',
        'default_hooks.checkpoint.save_optimizer=False',
        save=dict(save_optimizer=False),
    )


@pytest.fixture
def weights(tmp_path):
    file = tmp_path / 'pre.pth'
    model = Model()
    for param in model.parameters():
        torch.nn.init.constant_(param, 7)
    torch.save(dict(state_dict=model.state_dict()), file)
    return file


class First(Hook):
    """Note the weights with which a training begins."""

    def before_train(self, runner):
        runner.first = runner.model.layers[0].weight[0, 0].item()


@pytest.mark.parametrize('hook', ['ours', 'other', None])
@pytest.mark.parametrize('train_cfg', [EPOCHS, ITERATIONS])
def test_nothing_to_resume_means_load_from(train_cfg, hook, weights, tmp_path):
    by_epoch = train_cfg is EPOCHS
    hooks = {
        'ours': dict(
            type='mmfft.AtomicCheckpointHook', by_epoch=by_epoch, interval=1
        ),
        'other': dict(type=CheckpointHook, by_epoch=by_epoch, interval=1),
        None: None,
    }
    # The weights may lie in the work directory.
    work_dir = tmp_path
    cfg = Config(dict(load_from=str(weights)))
    for attempt in range(2):
        # The second time as it was dumped, as torchrun restarts it.
        apply_train_options(cfg, resume='auto')
        runner = runner_of(
            work_dir,
            train_cfg,
            loader(),
            next(NAMES),
            default_hooks=dict(checkpoint=hooks[hook]),
            custom_hooks=[dict(type='mmfft.ExactResumeHook'), First()],
            **cfg,
        )
        runner.train()
        if attempt == 0 or hook is None:
            assert runner.first == 7 and runner._resume is False
        else:
            assert runner.first != 7 and runner._resume is True
            assert '_3.pth' in runner._load_from or 'iter_16' in (
                runner._load_from
            )


def test_a_config_that_resumes_from_a_file(tmp_path):
    """What a killed run with ``--resume FILE`` left, run again."""
    run(tmp_path / 'old', ends=2)
    file = str(tmp_path / 'old' / 'epoch_2.pth')
    cfg = Config(dict(load_from=file, resume=True))
    apply_train_options(cfg)
    assert cfg.load_from == file and cfg.resume is True
    runner = run(tmp_path / 'new', resume='auto', cfg=cfg)
    assert 'resumed epoch: 2' in runner.said
    assert f'resuming from load_from={file!r}' in runner.said
    # Its own are newer.
    runner = run(tmp_path / 'new', resume='auto', cfg=cfg)
    assert 'resumed epoch: 3' in runner.said
    assert 'Nothing is left to train' in runner.warned


def test_a_runner_that_loads_before_its_hooks_run(
    weights, tmp_path, monkeypatch
):
    monkeypatch.setitem(MODELS.module_dict, 'TinyModel', Model)
    monkeypatch.setitem(DATASETS.module_dict, 'TinyData', Noisy)
    cfg = Config(
        dict(
            runner_type='FlexibleRunner',
            launcher='none',
            default_scope='mmengine',
            env_cfg=dict(),
            strategy=dict(type='SingleDeviceStrategy'),
            model=dict(type='TinyModel'),
            work_dir=str(tmp_path / 'run'),
            train_dataloader=dict(
                batch_size=3,
                num_workers=0,
                dataset=dict(type='TinyData'),
                sampler=dict(type='DefaultSampler', shuffle=False),
            ),
            train_cfg=dict(by_epoch=True, max_epochs=2),
            optim_wrapper=dict(
                type='OptimWrapper', optimizer=dict(type='SGD', lr=0.0)
            ),
            load_from=str(weights),
            default_hooks=dict(
                checkpoint=dict(type='mmfft.AtomicCheckpointHook')
            ),
            custom_hooks=[dict(type='mmfft.ExactResumeHook')],
        )
    )
    for attempt, end in enumerate(('epoch_2.pth', 'epoch_3.pth')):
        apply_train_options(cfg, resume='auto')
        cfg.experiment_name = next(NAMES)
        cfg.train_cfg.max_epochs = 2 + attempt
        runner = build_runner(cfg.copy())
        runner.train()
        assert runner.cfg.resume == 'auto' and runner.epoch == 2 + attempt
        assert runner._resume is (attempt == 1)
        saved = torch.load(tmp_path / 'run' / end, weights_only=False)
        weight = saved['state_dict']['layers.0.weight']
        assert (weight == 7).all()


def test_a_test_resumes_nothing(weights, tmp_path):
    """A config that was dumped by a training may be used for a test."""
    run(tmp_path / 'w', ends=2)
    runner = runner_of(
        tmp_path / 'w',
        EPOCHS,
        loader(),
        'validation',
        load_from=str(weights),
        resume='auto',
        custom_hooks=[dict(type='mmfft.ExactResumeHook')],
        default_hooks=dict(checkpoint=None),
    )
    runner.val()
    assert runner._load_from == str(weights)
    assert runner.model.layers[0].weight[0, 0] == 7


def test_what_is_left_unfinished(tmp_path):
    names = ['.epoch_3.pt.tmp', '.best_acc_epoch_2.pt.tmp', '.a.pth.tmp']
    for name in [*names, '.swap.txt.tmp', 'a.pth.tmp']:
        (tmp_path / name).touch()
    # Another run may be writing it.
    (tmp_path / 'other').mkdir()
    (tmp_path / 'other' / '.epoch_1.pt.tmp').touch()
    found = find_unfinished(tmp_path, 'epoch_{}.pt')
    assert sorted(file.name for file in found) == sorted(names)
    assert find_newest(tmp_path, 'epoch_{}.pt', tmp_path / 'no') == (None, [])
    assert find_unfinished(tmp_path / 'gone', 'epoch_{}.pt') == []
