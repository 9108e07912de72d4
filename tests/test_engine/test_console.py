# Copyright (c) mmfft authors. All rights reserved.
"""What users see of a run: a screen at its start, and how it ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, small_data
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import print_log

from mmfft.engine import build_runner, command_line, load_config
from mmfft.errors import ConfigError
from mmfft.registry import HOOKS

CLS = ROOT / 'configs/demo/cdfformer-nano_1xb32-6e_digit-crops.py'
CONFIG = f"""
_base_ = {str(CLS)!r}
custom_hooks = [dict(type='mmfft.EndIn', iteration=6, by={{}})]
"""


@HOOKS.register_module(force=True)
class EndIn(Hook):
    """Interrupts training in an iteration, and says so before it starts."""

    priority = 'LOWEST'

    def __init__(self, iteration, by):
        self.iteration = iteration
        self.by = by

    def before_run(self, runner):
        runner.logger.info('said by a hook of a user')
        print_log('and by its other way', logger='current')

    def after_train_iter(self, runner, **kwargs):
        if runner.iter + 1 == self.iteration:
            signal.raise_signal(self.by)


@pytest.fixture
def reset_signals():
    """A function that sets the handlers as in a new process."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)
    before = {number: signal.getsignal(number) for number in numbers}

    def reset():
        for number, handler in before.items():
            signal.signal(number, handler)

    return reset


@pytest.fixture
def train(tmp_path, digit_scenes, call_tool, capfd, reset_signals):
    """Train until a signal comes; returns the exit status and what is said."""

    def run(*args, by=signal.SIGINT):
        config = tmp_path / 'config.py'
        config.write_text(CONFIG.format(int(by)))
        options = small_data('mmpretrain', digit_scenes)
        capfd.readouterr()
        reset_signals()
        with pytest.raises(SystemExit) as end:
            call_tool(
                'train.py',
                config,
                '--no-validate',
                *args,
                '--cfg-options',
                *options,
                'train_dataloader.batch_size=8',
                'default_hooks.logger.interval=1',
                'default_hooks.bad_samples=None',
                'default_hooks.check_loss=None',
                'default_hooks.visualization=None',
                cwd=tmp_path,
            )
        return end.value.code, capfd.readouterr()

    return run


def log_in(folder):
    (path,) = Path(folder).glob('*/*.log')
    return path, path.read_text()


def test_a_start_takes_a_screen(train, tmp_path):
    _, said = train('--work-dir', 'work')
    path, log = log_in(tmp_path / 'work')
    start, found, _ = said.out.partition('Epoch(train)')
    assert found and start.count('\n') <= 25
    first = next(line for line in start.splitlines() if 'Config' in line)
    assert str(path) in first and str(tmp_path / 'config.py') in first
    for line in [
        f'work dir: {tmp_path / "work"}',
        'device: ',
        'model: ImageClassifier, 0.91 M parameters, 0.91 M trained',
        'train data: CustomDataset of 32 samples in batches of 8',
        'schedule: epochs 1 to 6 of 4 iterations',
        'said by a hook of a user',
        'and by its other way',
        'WARNING',
    ]:
        assert line in start and line in log
    # As ever, in the file.
    for text in [
        'System environment:',
        'mmfft environment:',
        'INFO - Config:\n',
        'Hooks will be executed in the following order:',
        'paramwise_options -- backbone.',
    ]:
        assert text in log and text not in said.out
    # What was switched off.
    hooks = log.partition('Hooks will be')[2]
    assert 'ExactResumeHook' in hooks
    for hook in ('BadSamplesHook', 'CheckLossHook', 'VisualizationHook'):
        assert hook not in hooks


@pytest.mark.parametrize(
    'by, status, how',
    [
        (signal.SIGINT, 130, 'interrupted'),
        (signal.SIGTERM, 143, 'terminated'),
    ],
)
def test_an_end_says_how_to_continue(by, status, how, train, tmp_path):
    last = tmp_path / 'epoch_1.pth'
    # From an earlier run, which is not continued.
    (tmp_path / 'last_checkpoint').write_text('epoch_9.pth')
    code, said = train('--work-dir', tmp_path, by=by)
    assert code == status and 'Traceback' not in said.err
    assert said.err.splitlines()[-2:] == [
        f'train.py: {how} in iteration 6. Last checkpoint: {last}',
        'Continue with --resume',
    ]
    assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL


def test_an_end_before_a_checkpoint(train, tmp_path):
    (tmp_path / 'last_checkpoint').write_text('epoch_9.pth')
    option = 'default_hooks.checkpoint.interval=4'
    _, said = train('--work-dir', tmp_path, '--cfg-options', option)
    assert said.err.splitlines()[-1].startswith('train.py: interrupted in')


def test_a_resumed_run_continues_where_it_did(train, tmp_path):
    train('--work-dir', tmp_path)
    _, said = train('--work-dir', tmp_path, '--resume')
    assert f'weights: resumed from {tmp_path}/epoch_1.pth' in said.out
    assert 'schedule: epochs 2 to 6 of 4 iterations' in said.out
    assert f'Last checkpoint: {tmp_path}/epoch_1.pth\n' in said.err


def interrupted():
    raise KeyboardInterrupt


def interrupted_and_renamed():
    """As mmengine's ``Config.pretty_text`` does."""
    try:
        interrupted()
    except:  # noqa: E722
        raise SyntaxError('the config')  # noqa: B904


@pytest.mark.parametrize('what', [interrupted, interrupted_and_renamed])
def test_other_tools_end_with_a_line(what, capsys, reset_signals):
    with pytest.raises(SystemExit) as end, command_line('get_flops.py'):
        what()
    assert end.value.code == 130
    assert capsys.readouterr().err == 'get_flops.py: interrupted\n'


@pytest.mark.parametrize('runner_type', ['Runner', 'FlexibleRunner'])
def test_any_runner_starts_short(runner_type, digit_scenes, tmp_path, capfd):
    off = {'default_hooks.bad_samples': None}
    cfg = load_config(str(CLS), str(tmp_path), off)
    cfg.runner_type = runner_type
    cfg.model.backbone.frozen_stages = 2
    for split in ('train', 'val', 'test'):
        cfg[f'{split}_dataloader'].dataset.data_root = str(digit_scenes)
    runner = build_runner(cfg)
    assert type(runner).__name__ == runner_type
    if runner_type == 'Runner':
        runner.build_optim_wrapper(runner.optim_wrapper)
    said = capfd.readouterr().out
    path, log = log_in(tmp_path)
    assert said.count('\n') < 5 and str(path) in said
    if runner_type == 'Runner':
        assert 'is skipped since its requires_grad=False' in log
    assert 'Config:' in log


def test_an_unknown_runner():
    cfg = Config(dict(launcher='none', runner_type='FastRunner'))
    with pytest.raises(ConfigError, match="runner_type='FastRunner' is not"):
        build_runner(cfg)


TWICE = """
import signal
import sys

from mmfft.engine import command_line


class Impatient:
    def write(self, text):
        signal.raise_signal(signal.SIGINT)
        print(text, end='', flush=True)

    def flush(self):
        pass


sys.stderr = Impatient()
with command_line('train.py'):
    try:
        raise KeyboardInterrupt('in iteration 3')
    finally:
        signal.raise_signal(signal.SIGINT)
"""


def test_a_second_ctrl_c_loses_nothing():
    """As torchrun sends it, while the first is handled or reported."""
    ended = subprocess.run(
        [sys.executable, '-c', TWICE], cwd=ROOT, capture_output=True, text=True
    )
    assert ended.stdout == 'train.py: interrupted in iteration 3\n'
    assert ended.returncode == 130, ended.stderr


@pytest.mark.slow
def test_ctrl_c_reaches_all_processes(tmp_path, digit_scenes):
    """Torchrun, its processes, and the workers of each."""
    options = small_data('mmpretrain', digit_scenes)
    process = subprocess.Popen(
        [
            *('bash', ROOT / 'tools' / 'dist_train.sh', CLS, '2'),
            *('--work-dir', 'work', '--no-validate', '--cfg-options'),
            *(o for o in options if 'workers' not in o),
            *('train_cfg.max_epochs=1000', 'default_hooks.logger.interval=1'),
            'train_dataloader.num_workers=1',
        ],
        cwd=tmp_path,
        env={**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHON': sys.executable},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        for line in process.stdout:
            if 'Saving checkpoint at 2' in line:
                break
        os.killpg(process.pid, signal.SIGINT)
        said = process.communicate(timeout=120)[0]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130, said
    assert 'Traceback' not in said and 'Error' not in said
    # torchrun writes too, before or after.
    assert '\nContinue with --resume\n' in said, said
    assert said.count('train.py: interrupted in iteration') == 1
