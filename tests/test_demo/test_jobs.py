# Copyright (c) mmfft authors. All rights reserved.
"""Commands at the same time, with small commands of Python."""

import io
import re
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from rich.console import Console

from mmfft.demo import jobs
from mmfft.demo.jobs import (
    CommandFailed,
    Job,
    Place,
    only_call,
    run_jobs,
    times,
)
from mmfft.engine.console import _describe_schedule
from mmfft.errors import ConfigError

TRAIN = '11/27 04:53:56 - mmengine - INFO - '


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setattr(jobs, 'POLL', 0.02)


def job(folder, *programs, title='one'):
    return Job(title, folder, (('-c', program) for program in programs))


def quiet():
    return Console(file=io.StringIO(), width=100)


def test_epochs_of_all_epochs(monkeypatch):
    monkeypatch.setattr(jobs.time, 'time', lambda: now)
    now, place = 1000.0, Place()
    assert (place.phase, place.done(), place.left()) == ('starts', 0, None)
    loop = SimpleNamespace(epoch=2, max_epochs=1200, dataloader=range(188))
    place.read(f'    schedule: {_describe_schedule(loop)}')
    place.read(
        f'{TRAIN}Epoch(train) [301][ 94/188]  base_lr: 1.9e-03 lr: 1.9e-03  '
        'eta: 1 day, 0:03:40  time: 0.2273  loss: 1.2293'
    )
    assert place.phase == 'trains' and place.left() == 24 * 3600 + 220
    assert place.done() == pytest.approx(300.5 / 1200)
    # Validations that the config has do not count.
    place.read(f'{TRAIN}Epoch(val) [2][ 50/150]    eta: 0:00:08  time: 0.08')
    assert place.done() == pytest.approx(300.5 / 1200)
    # Between two lines, both go on.
    now += (24 * 3600 + 220) / 2
    assert place.left() == pytest.approx(12 * 3600 + 110)
    assert place.done() == pytest.approx((300.5 / 1200 + 1) / 2)
    now += 24 * 3600
    assert (place.left(), place.done()) == (0, 1)


@pytest.mark.parametrize(
    'line, phase, done',
    [
        ('Iter(train) [  50/3000]  lr: 7e-04  eta: 0:07:22', 'trains', 1 / 60),
        ('Iter(train) [3000/3000]  lr: 7e-04  eta: 0:00:00', 'trains', 1),
        ('Epoch(test) [ 50/150]    eta: 0:00:05', 'is tested', 1 / 3),
        ('Epoch(test) [150/150]    coco/bbox_mAP: 0.6', 'starts', 0),
        ('loss: 1.0', 'starts', 0),
    ],
)
def test_lines(line, phase, done):
    place = Place()
    place.read(TRAIN + line)
    assert place.phase == phase
    assert place.done() == pytest.approx(done, abs=1e-3)


def meet(here, there):
    return (
        f'import pathlib, time; pathlib.Path({str(here)!r}).touch()\n'
        + wait_for(there)
    )


def wait_for(there):
    return (
        f'import pathlib, time\n'
        f'for i in range(500):\n'
        f'    if pathlib.Path({str(there)!r}).exists(): break\n'
        f'    time.sleep(0.02)\n'
        f'else: raise SystemExit(1)'
    )


def test_jobs_run_at_the_same_time(tmp_path):
    one, two = tmp_path / '1', tmp_path / '2'
    run_jobs(
        [
            job(tmp_path / 'a', meet(one, two), 'pass'),
            job(tmp_path / 'b', meet(two, one)),
        ],
        at_once=2,
        console=quiet(),
    )
    assert len(times(tmp_path / 'a')) == 2 and len(times(tmp_path / 'b')) == 1


def test_on_one_core_one_after_the_other(tmp_path):
    ran = []

    def commands(name):
        for number in range(2):
            yield '-c', 'pass'
            ran.append((name, number))

    console = quiet()
    run_jobs(
        [Job(name, tmp_path / name, commands(name)) for name in 'ab'],
        at_once=1,
        console=console,
    )
    assert ran == [('a', 0), ('a', 1), ('b', 0), ('b', 1)]
    # Each command is printed, with the file of its output.
    lines = console.file.getvalue().splitlines()
    assert lines.count('$ python -c pass') == 4
    assert lines.count(f'  output in {tmp_path / "a" / "console.log"}') == 2


@pytest.mark.parametrize('own', [None, '3'])
def test_one_thread_unless_the_user_says_otherwise(own, tmp_path, monkeypatch):
    monkeypatch.delenv('OMP_NUM_THREADS', raising=False)
    if own:
        monkeypatch.setenv('OMP_NUM_THREADS', own)
    one = job(tmp_path, 'import os; print("n", os.environ["OMP_NUM_THREADS"])')
    run_jobs([one], 1, quiet())
    assert one.log.read_text().splitlines()[-1] == f'n {own or 1}'


def test_times_of_a_command_and_its_processes(tmp_path):
    burn = 'import time\nwhile time.process_time() < 0.3: pass\n'
    both = (
        'import subprocess, sys\n'
        f'subprocess.run([sys.executable, "-c", {burn!r}])'
    )
    before = time.time()
    run_jobs([job(tmp_path, both)], 1, quiet())
    (entry,) = times(tmp_path)
    assert entry['status'] == 0 and entry['processor'] >= 0.3
    assert before <= entry['start'] <= entry['end'] - 0.3
    assert entry['end'] <= time.time()


def test_a_failure_ends_the_others(tmp_path):
    fails = 'print("early"); print("late\\n" * 30); raise SystemExit(3)'
    other = job(tmp_path / 'b', 'import time; time.sleep(60)', title='two')
    with pytest.raises(CommandFailed) as caught:
        run_jobs([job(tmp_path / 'a', fails), other], 2, quiet())
    text = str(caught.value)
    assert caught.value.status == 3
    assert str(tmp_path / 'a' / 'console.log') in text
    assert 'late' in text and '\nearly' not in text
    assert '(status 3)' in text
    (entry,) = times(tmp_path / 'b')
    assert entry['status'] == -signal.SIGTERM
    assert entry['end'] - entry['start'] < 30


def test_a_killed_command_has_the_status_of_shells(tmp_path):
    program = 'import os; os.kill(os.getpid(), 9)'
    with pytest.raises(CommandFailed) as caught:
        run_jobs([job(tmp_path, program)], 1, quiet())
    assert caught.value.status == 137


def test_ctrl_c_ends_the_commands(tmp_path, monkeypatch):
    # It takes no notice of SIGTERM.
    stubborn = (
        'import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n'
        'print("ready", flush=True); time.sleep(60)'
    )
    other = job(tmp_path / 'b', stubborn)

    def interrupted():
        while 'ready\n' not in other.log.read_text():
            time.sleep(0.02)
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(jobs, 'GRACE', 0.2)
    with pytest.raises(KeyboardInterrupt):
        run_jobs([other, Job('a', tmp_path / 'a', interrupted())], 2, quiet())
    assert other._process.wait(30) == -signal.SIGKILL


class Screen(io.StringIO):
    """A console's file that says when the time left has been shown."""

    def __init__(self, seen):
        super().__init__()
        self.seen = seen

    def write(self, text):
        if ' left' in text:
            self.seen.touch()
        return super().write(text)


def waiting(seen):
    """Write a line of a training, and wait until it has been shown."""
    line = f'{TRAIN}Iter(train) [ 50/100]  eta: 1:01:40'
    return f'print({line!r}, flush=True)\n{wait_for(seen)}'


def test_a_bar_in_a_terminal(tmp_path):
    file = Screen(tmp_path / 'seen')
    console = Console(file=file, width=100, force_terminal=True)
    run_jobs([job(tmp_path, waiting(file.seen))], 1, console)
    text = file.getvalue()
    assert 'one      trains' in text and re.search(r'61:\d\d left', text)
    assert ' 50 %' in text and '100 %' in text and 'is finished' in text


@pytest.mark.parametrize('seconds', [0, 60])
def test_lines_now_and_then_where_there_is_none(
    seconds, tmp_path, monkeypatch
):
    monkeypatch.setattr(jobs, 'QUIET_POLL', seconds)
    console = Console(file=Screen(tmp_path / 'seen'), width=100)
    program = waiting(console.file.seen) if seconds == 0 else 'pass'
    run_jobs([job(tmp_path, program)], 1, console)
    text = console.file.getvalue()
    lines = text[text.index('console.log') :].splitlines()[1:]
    assert lines[-1] == 'one      is finished 100%'
    if seconds == 0:
        assert any(
            re.fullmatch(r'one      trains       50% 61:\d\d left', line)
            for line in lines
        )
    else:
        assert len(lines) <= 2


CALL = """
import sys
from pathlib import Path
from mmfft.demo.jobs import Job, only_call, run_jobs
folder = Path(sys.argv[1])
program = 'import os, time; print("pid", os.getpid(), flush=True)'
program += '; time.sleep(60)'
with only_call(folder) as lock:
    run_jobs([Job('one', folder, [('-c', program)])], 1, keep_open=[lock])
"""


def test_after_a_kill_the_next_call_waits_for_the_commands(
    tmp_path, monkeypatch
):
    caller = subprocess.Popen(
        [sys.executable, '-c', CALL, str(tmp_path)], stdout=subprocess.DEVNULL
    )
    log = tmp_path / 'console.log'
    while not (
        log.exists()
        and (pid := re.search(r'^pid (\d+)\n', log.read_text(), re.M))
    ):
        assert caller.poll() is None
        time.sleep(0.05)
    with monkeypatch.context() as patch:
        patch.setattr(jobs, 'GRACE', 0)
        with pytest.raises(ConfigError, match='another call still trains'):
            with only_call(tmp_path):
                pass
    caller.kill()
    caller.wait()
    with only_call(tmp_path):
        # It has ended, or init has yet to take note of it.
        try:
            state = open(f'/proc/{pid[1]}/stat').read().split()[2]
        except FileNotFoundError:
            state = 'Z'
        assert state in 'ZX'
    # A killed caller cannot note the time.
    assert times(tmp_path) == []
