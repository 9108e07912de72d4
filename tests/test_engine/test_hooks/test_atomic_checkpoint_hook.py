# Copyright (c) mmfft authors. All rights reserved.
import errno
import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
from argparse import Namespace
from collections import Counter, defaultdict, deque
from datetime import date
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from checkpoint_forms import describe
from mmengine.config import Config, ConfigDict
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import Dataset

from mmfft.checkpoints import harden, read_file
from mmfft.engine import (
    AtomicCheckpointHook,
    AtomicLocalBackend,
    find_newest,
    load_config,
)
from mmfft.errors import ConfigError


def save(file, **more):
    """A small file with all that resuming takes."""
    state = dict(
        meta=dict(iter=1),
        state_dict=dict(weight=torch.zeros(1000)),
        message_hub={},
        optimizer={},
    )
    torch.save({**state, **more}, file)
    return file


def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    file = tmp_path / 'epoch_1.pth'
    backend = AtomicLocalBackend()
    backend.put(b'first', file)

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(ConfigError, match='No space left.*6 bytes needed'):
        backend.put(b'second', file)
    assert file.read_bytes() == b'first'
    assert os.listdir(tmp_path) == ['epoch_1.pth']


def test_a_disk_that_takes_half_of_a_file(tmp_path):
    file = tmp_path / 'epoch_1.pth'
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, limits[1]))
    try:
        with pytest.raises(ConfigError, match='File too large'):
            AtomicLocalBackend().put(b'0' * 2**17, file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir(tmp_path) == []


def test_killed_while_it_writes(tmp_path):
    """A reader meets a whole file at any moment."""
    script = textwrap.dedent("""
        import sys
        from mmfft.engine import AtomicLocalBackend
        backend = AtomicLocalBackend()
        print('ready', flush=True)
        while True:
            for digit in b'0123456789':
                backend.put(bytes([digit]) * 2 ** 22, sys.argv[1])
    """)
    file = tmp_path / 'a.pth'
    process = subprocess.Popen(
        [sys.executable, '-c', script, file], stdout=subprocess.PIPE
    )
    process.stdout.readline()
    end = time.monotonic() + 1
    seen = set()
    while time.monotonic() < end:
        if file.exists():
            content = file.read_bytes()
            assert len(content) == 2**22 and len(set(content[:: 2**10])) == 1
            seen.add(content[0])
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(file.read_bytes()) == 2**22
    assert len(seen) > 1


@pytest.fixture
def run(tmp_path):
    """A hook, and a runner that saves as mmengine's does, or fails to."""
    names = iter(range(10**6))

    def make(**cfg):
        hook = AtomicCheckpointHook(by_epoch=True, interval=1, **cfg)
        runner = SimpleNamespace(
            work_dir=str(tmp_path),
            epoch=0,
            iter=0,
            message_hub=MessageHub(f'{tmp_path}{next(names)}'),
            logger=SimpleNamespace(info=print, warning=print),
            _resume=False,
            _load_from=None,
        )

        def save_checkpoint(out_dir, filename, *args, **kwargs):
            hook.before_save_checkpoint(runner, runner.saved)
            runner.before_save(sorted(f.name for f in tmp_path.iterdir()))
            save(os.path.join(out_dir, filename), **runner.saved)

        runner.saved = {}
        runner.before_save = lambda files: None
        runner.save_checkpoint = save_checkpoint
        hook.before_run(runner)
        hook.before_train(runner)
        return hook, runner

    return make


def files(folder):
    return sorted(f.name for f in folder.glob('*.pth'))


def test_the_old_one_stays_until_the_new_one_is_safe(run, tmp_path):
    hook, runner = run(max_keep_ckpts=1)
    hook._save_checkpoint(runner)
    runner.epoch = 1
    present = []
    runner.before_save = present.append
    hook._save_checkpoint(runner)
    assert 'epoch_1.pth' in present[0]
    assert files(tmp_path) == ['epoch_2.pth']
    # A save that fails leaves the last one.
    runner.epoch = 2

    def fail(files):
        raise ConfigError('No space left')

    runner.before_save = fail
    with pytest.raises(ConfigError):
        hook._save_checkpoint(runner)
    assert files(tmp_path) == ['epoch_2.pth']
    assert (tmp_path / 'last_checkpoint').read_text().endswith('epoch_2.pth')


def test_the_best_one_stays_until_the_better_one_is_safe(run, tmp_path):
    hook, runner = run(max_keep_ckpts=1, save_best='acc', rule='greater')
    hook._save_checkpoint(runner)
    hook._save_best_checkpoint(runner, dict(acc=1.0))
    assert 'best_acc_epoch_0.pth' in files(tmp_path)
    runner.epoch = 1
    present = []
    runner.before_save = present.append
    hook._save_best_checkpoint(runner, dict(acc=2.0))
    # While the better one is written, and the checkpoint that names it.
    assert len(present) == 2
    assert all('best_acc_epoch_0.pth' in names for names in present)
    assert files(tmp_path) == ['best_acc_epoch_1.pth', 'epoch_1.pth']
    # Better at the same place: the file is replaced, not removed.
    hook._save_best_checkpoint(runner, dict(acc=3.0))
    assert files(tmp_path) == ['best_acc_epoch_1.pth', 'epoch_1.pth']


def test_killed_before_the_old_one_is_removed(run, tmp_path):
    hook, runner = run(max_keep_ckpts=1)
    hook._save_checkpoint(runner)
    runner.epoch = 1
    hook._remove_outdated = lambda: None
    hook._save_checkpoint(runner)
    assert files(tmp_path) == ['epoch_1.pth', 'epoch_2.pth']
    saved = torch.load(tmp_path / 'epoch_2.pth')
    assert saved['outdated_checkpoints'] == ['epoch_1.pth']

    def resume(folder):
        hook = AtomicCheckpointHook(max_keep_ckpts=1)
        runner._resume = True
        runner._load_from = str(folder / 'epoch_2.pth')
        hook.after_load_checkpoint(runner, saved)
        hook.before_train(runner)

    elsewhere = tmp_path / 'elsewhere'
    elsewhere.mkdir()
    resume(elsewhere)
    assert files(tmp_path) == ['epoch_1.pth', 'epoch_2.pth']
    saved['outdated_checkpoints'] += ['../epoch_2.pth/../../precious']
    resume(tmp_path)
    assert files(tmp_path) == ['epoch_2.pth']


def test_a_folder_of_deepspeed_is_taken_as_it_is(tmp_path):
    pointer = tmp_path / 'last_checkpoint'
    for epoch in (2, 3):
        (tmp_path / f'epoch_{epoch}.pth').mkdir()
    pointer.write_text('elsewhere/epoch_3.pth')
    found = find_newest(tmp_path, 'epoch_{}.pth', pointer)
    assert found == (str(tmp_path / 'epoch_3.pth'), [])


def test_find_newest_falls_back_and_tells(tmp_path):
    pointer = tmp_path / 'last_checkpoint'

    def find():
        return find_newest(tmp_path, 'epoch_{}.pth', pointer)

    assert find() == (None, [])
    for epoch in (2, 9, 10):
        save(tmp_path / f'epoch_{epoch}.pth')
    save(tmp_path / 'iter_99.pth')
    save(tmp_path / 'best_acc_epoch_9.pth')
    pointer.write_text('elsewhere/epoch_9.pth')
    # Ten was finished after the pointer was written.
    os.utime(pointer, (1, 1))
    path, passed_over = find()
    assert path == str(tmp_path / 'epoch_10.pth')
    assert passed_over == [
        f'{tmp_path}/iter_99.pth: not a checkpoint of this run, which has '
        'epoch_{}.pth'
    ]
    (tmp_path / 'iter_99.pth').unlink()
    # A torn file, and one of which a byte changed.
    ten = tmp_path / 'epoch_10.pth'
    content = ten.read_bytes()
    for wrong in (
        content[: len(content) // 2],
        b'',
        content.replace(b'\0' * 64, b'\0' * 63 + b'\1', 1),
    ):
        ten.write_bytes(wrong)
        path, passed_over = find()
        assert path == str(tmp_path / 'epoch_9.pth')
        assert len(passed_over) == 1
        assert 'epoch_10.pth: torn' in passed_over[0]
    torch.save(dict(weight=torch.zeros(1)), ten)
    path, (reason,) = find()
    assert 'only weights' in reason
    # One of a longer run that was in the folder before.
    save(ten)
    os.utime(ten, (1, 1))
    os.utime(pointer, (2, 2))
    path, (reason,) = find()
    assert path == str(tmp_path / 'epoch_9.pth')
    assert 'of an earlier run' in reason
    # A pointer that was torn itself.
    pointer.write_text('')
    assert find()[0] == str(ten)


class Mark:
    def __reduce__(self):
        return os.system, ('touch hit',)


def test_resume_runs_no_code_and_clears_up(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / 'epoch_1.pth')
    save(tmp_path / 'epoch_2.pth', more=Mark())
    (tmp_path / '.epoch_3.pth.tmp').write_bytes(b'half')
    said = []
    runner = SimpleNamespace(
        work_dir=str(tmp_path),
        _resume=True,
        _load_from=None,
        logger=SimpleNamespace(info=said.append, warning=said.append),
    )
    AtomicCheckpointHook().before_run(runner)
    assert runner._load_from == str(tmp_path / 'epoch_1.pth')
    assert not (tmp_path / 'hit').exists()
    assert 'passed over' in said[0] and 'epoch_2.pth' in said[0]
    assert not list(tmp_path.glob('.*.tmp'))
    # A folder without any is a new start, not an error.
    runner._load_from = None
    runner.work_dir = str(tmp_path / 'new')
    AtomicCheckpointHook().before_run(runner)
    assert not runner._resume and runner._load_from is None


@pytest.mark.parametrize(
    'written, expected',
    [
        ('', 'mmfft.AtomicCheckpointHook'),
        ("dict(type='CheckpointHook')", 'mmfft.AtomicCheckpointHook'),
        ("dict(type='MyHook')", 'MyHook'),
        ('None', None),
    ],
)
def test_the_command_lines_save_atomically(written, expected, tmp_path):
    file = tmp_path / 'a.py'
    hooks = f'default_hooks = dict(checkpoint={written})' if written else ''
    file.write_text(hooks)
    cfg = load_config(str(file))
    hook = cfg.default_hooks.checkpoint
    assert (hook and hook.type) == expected
    assert isinstance(cfg, Config)
    assert cfg.custom_hooks[-1] == dict(type='mmfft.ExactResumeHook')


# ------------------------------------------ a run's own checkpoint is resumed


class Unknown:
    """A class that reading without running code cannot make."""


def of_a_user():
    return []


# What metainfo of a data set and the message hub hold beside numbers.
KINDS = {
    **{
        dtype: np.arange(3).astype(dtype)
        for dtype in ('u1', 'i2', 'f2', 'c8', 'c16', '?', 'U5', 'S5', 'O')
    },
    'dates': np.array(['2020-01-01'], 'M8[D]'),
    'structured': np.zeros(2, [('a', 'i4'), ('b', 'S3')]),
    'scalars': [np.float16(0.5), np.uint8(3), np.str_('a')],
    'state': np.random.RandomState(0).get_state(),
    'filled defaultdict': defaultdict(list, a=[1, np.ones(2, 'f2')]),
    'filled deque': deque([1, np.int16(2)], maxlen=5),
    'counter': Counter('aab'),
    'sets': [{1}, frozenset({'a'})],
    'path': Path('a/b'),
    'date': date(2020, 1, 2),
    'decimal': Decimal('1.50'),
    'namespace': Namespace(lr=0.1),
    'config': ConfigDict(a=1, b=dict(c=[2])),
    'tensor': torch.arange(3).to(torch.bfloat16),
    'palette': [(np.uint8(1), 2, 3)],
}


class Plain(Dataset):
    metainfo = {'classes': ('a',), **KINDS}

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return dict(inputs=torch.tensor([float(index)]))


class Line(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def forward(self, inputs, mode):
        return dict(loss=self.layer(torch.stack(list(inputs))).mean())


class Break(Hook):
    """Put everything into the message hub; break off in the third epoch."""

    def __init__(self, infos, breaks):
        self.infos = infos
        self.breaks = breaks

    def before_train(self, runner):
        for name, value in self.infos.items():
            runner.message_hub.update_info(name, value)

    def before_train_epoch(self, runner):
        if self.breaks and runner.epoch == 2:
            raise KeyboardInterrupt


@pytest.fixture
def train(tmp_path, forget_managers):
    def make(infos=KINDS, breaks=False, dataset=None, **kwargs):
        forget_managers()
        runner = Runner(
            model=Line(),
            work_dir=str(tmp_path / 'run'),
            train_dataloader=dict(
                batch_size=2,
                num_workers=0,
                dataset=dataset or Plain(),
                sampler=dict(type='DefaultSampler'),
            ),
            train_cfg=dict(by_epoch=True, max_epochs=3),
            optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.01)),
            custom_hooks=[
                Break(infos, breaks),
                dict(type='mmfft.ExactResumeHook'),
            ],
            default_hooks=dict(
                checkpoint=dict(type='mmfft.AtomicCheckpointHook', interval=1)
            ),
            default_scope='mmengine',
            experiment_name='run',
            **kwargs,
        )
        warned = []
        runner.logger.warning = lambda text, *args: warned.append(str(text))
        try:
            runner.train()
        except KeyboardInterrupt:
            pass
        runner.logger.handlers.clear()
        return runner, warned

    return make


@pytest.mark.parametrize('hard', [False, True], ids=['library', 'hardened'])
def test_all_kinds_of_data_are_resumed(hard, train, tmp_path):
    if hard:
        harden()
    first, warned = train(breaks=True)
    assert first.epoch == 2
    assert not [text for text in warned if 'left out' in text]
    second, warned = train(infos={}, resume=True)
    assert second.epoch == 3
    assert str(second._load_from) == str(tmp_path / 'run' / 'epoch_2.pth')
    assert not [text for text in warned if 'passed over' in text]
    saved = read_file(str(tmp_path / 'run' / 'epoch_3.pth'))
    for name, value in KINDS.items():
        of_hub = second.message_hub.get_info(name)
        if isinstance(value, defaultdict):
            # mmengine copies what the hub holds without it.
            of_hub.default_factory = list
        for found in (of_hub, saved['meta']['dataset_meta'][name]):
            assert repr(describe(found)) == repr(describe(value)), name


def test_what_cannot_be_read_again_is_left_out_and_said_once(train, tmp_path):
    infos = dict(
        mine=Unknown(),
        nested=dict(kept=1, lost=[Unknown()]),
        generator=np.random.default_rng(0),
    )
    dataset = Plain()
    dataset.metainfo = dict(
        classes=('a',), task=Unknown(), counts=defaultdict(of_a_user, a=[1])
    )
    _, warned = train(infos, breaks=True, dataset=dataset)
    left_out = [text for text in warned if 'left out' in text]
    hub = "checkpoint['message_hub']['runtime_info']"
    assert sorted(text.partition(' (')[0] for text in left_out) == sorted(
        [
            f"{hub}['mine']",
            f"{hub}['nested']['lost'][0]",
            f"{hub}['generator']",
            f"{hub}['dataset_meta']['task']",
            "checkpoint['meta']['dataset_meta']['task']",
            # mmengine itself leaves it out of the message hub.
            "checkpoint['meta']['dataset_meta']['counts'].default_factory",
        ]
    )
    assert f'{__name__}.Unknown' in ''.join(left_out)
    second, warned = train(infos={}, dataset=dataset, resume=True)
    assert second.epoch == 3
    assert second.message_hub.get_info('nested') == dict(kept=1)
    meta = read_file(str(tmp_path / 'run' / 'epoch_3.pth'))['meta']
    assert meta['dataset_meta'] == dict(classes=('a',), counts=dict(a=[1]))
    assert second.message_hub.get_info('mine') is None


def test_a_run_whose_checkpoints_are_spoilt_stops(train, tmp_path):
    train(breaks=True)
    folder = tmp_path / 'run'
    one, two = (folder / f'epoch_{i}.pth' for i in (1, 2))
    one.write_bytes(one.read_bytes()[:-100])
    save(two, x=Unknown())
    before = [file.read_bytes() for file in (one, two)]
    with pytest.raises(ConfigError) as raised:
        train(resume=True)
    lines = str(raised.value).splitlines()
    assert lines[0] == '--resume: none of the checkpoints can be resumed from:'
    assert 'epoch_2.pth' in lines[1] and f'{__name__}.Unknown' in lines[1]
    assert 'torn' not in lines[1]
    assert 'epoch_1.pth' in lines[2] and 'torn' in lines[2]
    assert 'omit --resume or move these files away' in lines[3]
    assert [file.read_bytes() for file in (one, two)] == before
    # As the last line says.
    for file in (one, two):
        file.unlink()
    runner, _ = train(resume=True)
    assert runner.epoch == 3 and runner._resume is False


def test_a_best_checkpoint_alone_is_no_new_start(tmp_path):
    save(tmp_path / 'best_acc_epoch_9.pth')
    path, (reason,) = find_newest(tmp_path, 'epoch_{}.pth', tmp_path / 'no')
    assert path is None and 'a best checkpoint, not the newest' in reason
    save(tmp_path / 'epoch_9.pth')
    found = find_newest(tmp_path, 'epoch_{}.pth', tmp_path / 'no')
    assert found == (str(tmp_path / 'epoch_9.pth'), [])
