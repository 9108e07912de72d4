# Copyright (c) mmfft authors. All rights reserved.
"""Commands of several jobs at the same time, a progress line below each."""

import contextlib
import ctypes
import fcntl
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from ..engine.json_files import write_json
from ..errors import ConfigError

# Seconds between two looks at the commands, and between two lines where the
# console is no terminal.
POLL = 0.5
QUIET_POLL = 60.0
# Seconds that commands have to end after SIGTERM, and that a call waits for
# the commands of one that was killed.
GRACE = 30.0

# The times of a job's commands, in its folder.
_COMMANDS = 'commands.json'

# As tools/train.py and tools/test.py write them: the number of epochs, and
# what is done of an epoch, or of a run that counts only iterations.
_EPOCHS = re.compile(r'schedule: epochs [\d,]+ to ([\d,]+) of')
_STEP = re.compile(
    r'(?:Epoch|Iter)\((train|test)\)\s+(?:\[\s*(\d+)\])?'
    r'\[\s*(\d+)/(\d+)\].*?eta: (?:(\d+) days?, )?(\d+):(\d+):(\d+)'
)
_PHASES = dict(train='trains', test='is tested')


class CommandFailed(Exception):
    """A command has failed.

    Args:
        message (str): Which one, the last lines of its output, and where the
            others are.
        status (int): Its exit status, as shells have it.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Place:
    """Where a command is, from the lines that it writes."""

    def __init__(self) -> None:
        self.phase = 'starts'
        self._epochs = 1
        # Share that was done when the last line was read, then, and when the
        # rest will be done, in seconds since 1970.
        self._done, self._at, self._end = 0.0, 0.0, 0.0

    def read(self, line: str) -> None:
        """Read a line of the output.

        Args:
            line (str): Line without colours; most say nothing of the place.
        """
        if match := _EPOCHS.search(line):
            self._epochs = int(match[1].replace(',', ''))
        elif match := _STEP.search(line):
            kind, epoch, *numbers = match.groups(default='0')
            step, steps, days, hours, minutes, seconds = map(int, numbers)
            self.phase, self._done = _PHASES[kind], step / steps
            if match[2] and kind == 'train':
                self._done = (int(epoch) - 1 + self._done) / self._epochs
            self._at = time.time()
            left = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
            self._end = self._at + left

    def left(self) -> float | None:
        """Seconds to the end of the phase, or None if it is not known."""
        return max(0.0, self._end - time.time()) if self._end else None

    def done(self) -> float:
        """Share of the phase that is done, at the speed of the last line."""
        if self._end <= self._at:
            return self._done
        rest = self.left() / (self._end - self._at)
        return 1 - (1 - self._done) * rest


class Job:
    """Commands, one after the other, whose output goes to a file.

    When one ends, in whatever way, its time is added to ``commands.json`` in
    the folder, see :func:`times`.

    Args:
        title (str): Name on the progress line.
        folder (Path): Folder for the output, ``console.log``.
        commands (Iterable[Sequence[str]]): Arguments for Python of each
            command. The next one is asked for when one has succeeded.
    """

    def __init__(
        self, title: str, folder: Path, commands: Iterable[Sequence[str]]
    ) -> None:
        self.title = title
        self.folder = folder
        self.log = folder / 'console.log'
        self.place = Place()
        self._commands = iter(commands)
        self._process: subprocess.Popen | None = None

    def start_next(self, console: Console, keep_open: Sequence[int]) -> bool:
        """Start the next command.

        Args:
            console (Console): Console on which it is printed.
            keep_open (Sequence[int]): Open files that it inherits.

        Returns:
            bool: Whether there was one.
        """
        command = next(self._commands, None)
        if command is None:
            return False
        self._text = f'$ python {shlex.join(command)}'
        console.print(
            f'\n{self._text}\n  output in {self.log}',
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.log, 'a') as log:
            log.write(f'{self._text}\n')
            log.flush()
            self._read_to = log.tell()
            self.place, self._started = Place(), time.time()
            self._process = subprocess.Popen(
                [sys.executable, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={'OMP_NUM_THREADS': '1', **os.environ},
                pass_fds=keep_open,
                # Ctrl-C reaches only us, and we end it.
                start_new_session=True,
                preexec_fn=_END_WITH_PARENT,
            )
        return True

    def look(self) -> bool:
        """Read what the command has written since the last look.

        Returns:
            bool: Whether it has succeeded, rather than still running.

        Raises:
            CommandFailed: If it has failed.
        """
        status = self._status()
        with open(self.log, 'rb') as log:
            log.seek(self._read_to)
            # The last line may not be whole yet.
            lines, newline, _ = log.read().rpartition(b'\n')
        self._read_to += len(lines) + len(newline)
        for line in lines.decode(errors='replace').splitlines():
            self.place.read(line)
        if status:
            raise CommandFailed(
                f'\n{self._last_lines()}\n\n{self.title}: the command\n'
                f'{self._text}\nhas failed (status {status}); all of its '
                f'output is in {self.log}',
                status,
            )
        return status == 0

    def terminate(self) -> None:
        """Ask the command to end; it ends its own processes."""
        if not self.has_ended():
            os.kill(self._process.pid, signal.SIGTERM)

    def kill(self) -> None:
        """End the command and its processes, if they have not ended."""
        if not self.has_ended():
            os.killpg(self._process.pid, signal.SIGKILL)

    def has_ended(self) -> bool:
        """Whether no command is running."""
        return self._process is None or self._status() is not None

    def _status(self) -> int | None:
        # Popen does not tell the time of the processor.
        process = self._process
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid == 0:
            return None
        self._process = None
        code = os.waitstatus_to_exitcode(status)
        process.returncode = code
        entry = dict(
            command=self._text,
            status=code,
            start=self._started,
            end=time.time(),
            processor=usage.ru_utime + usage.ru_stime,
        )
        write_json(self.folder / _COMMANDS, [*times(self.folder), entry])
        return code if code >= 0 else 128 - code

    def _last_lines(self, count: int = 20) -> str:
        output = self.log.read_text(errors='replace')
        output = output[output.rindex(self._text) :]
        return '\n'.join(output.splitlines()[-count:])


def times(folder: Path) -> list[dict]:
    """Read the times of the commands that a job has run.

    Args:
        folder (Path): Folder of a :class:`Job`.

    Returns:
        list[dict]: For each command that has ended, ``start`` and ``end`` in
        seconds since 1970, and the seconds of ``processor`` that it and its
        processes took. A command whose caller was killed is not in it.
    """
    file = folder / _COMMANDS
    return json.loads(file.read_text()) if file.exists() else []


def run_jobs(
    jobs: Iterable[Job],
    at_once: int,
    console: Console | None = None,
    keep_open: Sequence[int] = (),
) -> None:
    """Run jobs, several at the same time.

    When a command fails, or this process is interrupted, all other commands
    are ended. On Linux they also end when this process is killed.

    Args:
        jobs (Iterable[Job]): Jobs in their order.
        at_once (int): Number of jobs at the same time.
        console (Console, optional): Console for commands and progress; one
            that is no terminal gets a line a minute. Defaults to a new one.
        keep_open (Sequence[int]): Open files that commands inherit. Defaults
            to none.

    Raises:
        CommandFailed: If a command has failed.
    """
    console = console or Console()
    waiting, running = list(jobs), []
    with (
        _Bars(console) as bars,
        _ended(running),
    ):
        while waiting or running:
            while waiting and len(running) < at_once:
                running.append(waiting.pop(0))
                if not running[-1].start_next(console, keep_open):
                    running.pop()
            time.sleep(POLL)
            for job in list(running):
                if job.look() and not job.start_next(console, keep_open):
                    running.remove(job)
                    bars.finish(job)
                else:
                    bars.show(job)


@contextlib.contextmanager
def _ended(jobs: list[Job]) -> Iterator[None]:
    """End the commands of jobs at the end, by force if they take long."""
    try:
        yield
    finally:
        try:
            for job in jobs:
                job.terminate()
            end = time.time() + GRACE
            while time.time() < end and not all(j.has_ended() for j in jobs):
                time.sleep(min(POLL, 0.1))
        finally:
            for job in jobs:
                job.kill()


class _Bars:
    """A line for each job: bars in a terminal, else a line now and then."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._bars = Progress(
            TextColumn('{task.description}', markup=False),
            BarColumn(),
            TextColumn('{task.percentage:3.0f} %'),
            TextColumn('{task.fields[left]}'),
            console=console,
            auto_refresh=False,
            disable=not console.is_terminal,
        )
        self._tasks, self._said = {}, {}

    def __enter__(self):
        self._bars.start()
        return self

    def __exit__(self, *error) -> None:
        self._bars.stop()

    def show(self, job: Job) -> None:
        left = job.place.left()
        if left is None:
            text = ''
        else:
            text = '{}:{:02} left'.format(*divmod(round(left), 60))
        self._update(job, job.place.phase, job.place.done(), text)

    def finish(self, job: Job) -> None:
        self._said.pop(job, None)
        self._update(job, 'is finished', 1.0, '')

    def _update(self, job: Job, phase: str, done: float, left: str) -> None:
        text = f'{job.title:<9}{phase:<12}'
        if self.console.is_terminal:
            if job not in self._tasks:
                self._tasks[job] = self._bars.add_task(text, total=1, left='')
            self._bars.update(
                self._tasks[job], description=text, completed=done, left=left
            )
            self._bars.refresh()
        elif time.time() - self._said.get(job, 0) >= QUIET_POLL:
            self._said[job] = time.time()
            self.console.print(
                f'{text}{done:4.0%} {left}'.rstrip(), highlight=False
            )


@contextlib.contextmanager
def only_call(folder: Path) -> Iterator[int]:
    """Context in which no other call works in a folder.

    Two calls would spoil each other's checkpoints. One that was killed counts
    until its commands have ended, too.

    Args:
        folder (Path): Folder, which is made.

    Yields:
        int: Open file that the commands must inherit.

    Raises:
        ConfigError: If another call is at work, and does not end soon.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / '.lock', 'w') as file:
        end, waits = time.time() + GRACE, False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.time() > end:
                    raise ConfigError(
                        f'another call still trains in {str(folder)!r}: wait '
                        'for it, or end it'
                    ) from error
                if not waits:
                    waits = True
                    print(f'waits for another call in {folder}', flush=True)
                time.sleep(POLL)
        yield file.fileno()


def cores() -> int:
    """Number of cores that this process may use."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _make_end_with_parent():
    """Function with which a child ends when its parent is killed."""
    if sys.platform != 'linux':
        return None
    prctl, death_signal = ctypes.CDLL(None).prctl, 1
    return lambda: prctl(death_signal, signal.SIGTERM)


_END_WITH_PARENT = _make_end_with_parent()
