# Copyright (c) mmfft authors. All rights reserved.
import errno
import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub

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
        f'{tmp_path}/iter_99.pth: not a checkpoint of this run, which are '
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
    assert 'weights alone' in reason
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
