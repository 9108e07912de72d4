# Copyright (c) mmfft authors. All rights reserved.
"""Kill trainings at random moments, resume them, and compare the results.

    python tests/soak/kills.py --kills 30 --rank-kills 5

Each toolbox trains its demo on a small DigitScenes with the command lines. One
run is not interrupted. The others are killed (SIGKILL), half of the time while
a checkpoint is being written, and continued by the same command with
``--resume``, until all kills are used; then they run to the end. With two
processes (tools/dist_train.sh), one of them is killed. A single process runs
tools/train.py in a fork of a process that has imported the libraries, so that
it spends most of its time training.

The exit status is 1 if a run cannot be resumed, or if its weights, optimizer
states or losses differ from those of the uninterrupted run.
"""

import argparse
import json
import multiprocessing
import os
import random
import re
import runpy
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from mmfft.checkpoints import read_file
from mmfft.datasets import DigitScenesConfig, make_digit_scenes

ROOT = Path(__file__).resolve().parents[2]
INTERVAL = 2

COMMON = """
_base_ = '{base}'
train_dataloader = dict(
    batch_size=2,
    num_workers={workers},
    persistent_workers={workers} > 0,
    dataset=dict(data_root='{data}'))
val_dataloader = dict(
    batch_size=2,
    num_workers={workers},
    persistent_workers={workers} > 0,
    dataset=dict(data_root='{data}'))
test_dataloader = val_dataloader
default_hooks = dict(
    logger=dict(interval=1),
    checkpoint=dict(by_epoch=False, interval={interval}, max_keep_ckpts=2))
custom_hooks = [dict(type='EMAHook')]
"""
UNTRAINED = 'model = dict(backbone=dict(init_cfg=None))\n'
TRUTH = """
val_evaluator = dict(
    ann_file='{data}/annotations/instances_validation.json')
test_evaluator = val_evaluator
"""
# Config of the demo, folder of the data, and further changes of the config. An
# epoch has 16 iterations.
TOOLBOXES = dict(
    cls=(
        'cdfformer-nano_1xb32-6e_digit-crops.py',
        '',
        'train_cfg = dict(max_epochs={epochs}, val_interval=2)\n',
    ),
    det=(
        'mask-rcnn_cdfformer-nano_fpn_1xb4-3e_digit-scenes.py',
        'scenes',
        UNTRAINED
        + TRUTH
        + 'train_cfg = dict(max_epochs={epochs}, val_interval=2)\n',
    ),
    seg=(
        'cdfformer-nano_fpn_1xb2-2k_digit-scenes-192x256.py',
        'scenes',
        UNTRAINED
        + 'train_cfg = dict(max_iters=16 * {epochs}, val_interval=32)\n',
    ),
)
PRELOAD = dict(cls='mmpretrain.apis', det='mmdet.apis', seg='mmseg.apis')
STEP = re.compile(
    r'(?:Epoch\(train\)\s+\[(\d+)\]|Iter\(train\)\s*)\[\s*(\d+)/\s*(\d+)\]'
)


@dataclass
class Record:
    """The counts of a campaign."""

    toolbox: str
    processes: int
    kills: int = 0
    kills_in_writes: int = 0
    resumes: int = 0
    finished_runs: int = 0
    torn_files: int = 0
    steps_lost_at_most: int = 0
    differences: list[str] = field(default_factory=list)
    lost_runs: list[str] = field(default_factory=list)


def train(log: Path, arguments: list[str], threads: int) -> None:
    """Run tools/train.py in this process, which was started for it."""
    torch.set_num_threads(threads)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    path = str(ROOT / 'tools' / 'train.py')
    sys.argv = [path, *arguments]
    runpy.run_path(path, run_name='__main__')


def train_on_two(
    log: Path, arguments: list[str], threads: int
) -> subprocess.Popen:
    """Start tools/dist_train.sh with two processes."""
    config, *more = arguments
    environment = dict(
        PYTHON=sys.executable,
        PYTHONPATH=str(ROOT),
        OMP_NUM_THREADS=str(threads),
    )
    return subprocess.Popen(
        ['bash', ROOT / 'tools' / 'dist_train.sh', config, '2', *more],
        env={**os.environ, **environment},
        stdout=log.open('w'),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


class Life:
    """One process of a training, from its start until it ends or is killed."""

    def __init__(
        self, config: Path, work_dir: Path, processes: int, threads: int
    ) -> None:
        work_dir.mkdir(parents=True, exist_ok=True)
        self.work_dir = work_dir
        self.killed = False
        self.log = work_dir / f'life_{len(list(work_dir.glob("life_*")))}.log'
        self.log.touch()
        arguments = [str(config), '--work-dir', str(work_dir), '--resume']
        if processes > 1:
            launcher = train_on_two(self.log, arguments, threads)
            self.pid = launcher.pid
            self.status, self.wait = launcher.poll, launcher.wait
        else:
            process = multiprocessing.Process(
                target=train, args=(self.log, arguments, threads)
            )
            process.start()
            self.pid = process.pid
            self.status = lambda: process.exitcode
            self.wait = process.join

    def runs(self) -> bool:
        return self.status() is None

    def trains(self) -> bool:
        return STEP.search(self.text()) is not None

    def steps(self) -> int | None:
        """Read from the log how many steps of the training are done."""
        found = STEP.findall(self.text())
        if not found:
            return None
        epoch, step, length = found[-1]
        return (
            int(step) + (int(epoch) - 1) * int(length)
            if epoch
            else (int(step))
        )

    def resumed(self) -> int | None:
        found = re.search(r'resumed epoch: \d+, iter: (\d+)', self.text())
        return found and int(found[1])

    def text(self) -> str:
        return self.log.read_text(errors='replace')

    def writes(self) -> bool:
        return any(self.work_dir.glob('.*.pth.tmp'))

    def wait_for(self, condition, seconds: float = 300) -> bool:
        """Wait, and return whether it came true while the process ran."""
        end = time.monotonic() + seconds
        while self.runs() and time.monotonic() < end:
            if condition():
                return True
            time.sleep(0.0005)
        return False

    def kill(self, rank: int | None) -> None:
        victim = self.pid
        if rank is not None:
            victim = next(iter(self._processes_of(rank)), victim)
        os.kill(victim, signal.SIGKILL)
        # torchrun ends the other processes.
        self.wait(120)

    def _processes_of(self, rank: int):
        for task in Path(f'/proc/{self.pid}/task').iterdir():
            for pid in (task / 'children').read_text().split():
                environment = Path(f'/proc/{pid}/environ').read_bytes()
                if f'RANK={rank}'.encode() in environment.split(b'\0'):
                    yield int(pid)


def torn(folder: Path) -> list[str]:
    """List the checkpoints that are not complete."""
    found = []
    for file in folder.glob('*.pth'):
        try:
            with zipfile.ZipFile(file) as archive:
                if archive.testzip() is None:
                    continue
        except (OSError, zipfile.BadZipFile):
            pass
        if file.exists():
            found.append(file.name)
    return found


def last(folder: Path) -> dict:
    path = Path((folder / 'last_checkpoint').read_text())
    return read_file(str(folder / path.name))


def differences(ours, expected, path: str = '') -> list[str]:
    """List the differences of two checkpoints, except in times and names."""
    if isinstance(expected, dict):
        if ours.keys() != expected.keys():
            return [f'{path}: other names']
        return [
            line
            for key in expected
            if str(key).split('/')[-1]
            not in ('time', 'data_time', 'eta', 'meta', 'runtime_info')
            for line in differences(ours[key], expected[key], f'{path}.{key}')
        ]
    if isinstance(expected, (list, tuple)):
        if len(ours) != len(expected):
            return [f'{path}: other length']
        return [
            line
            for i, (one, other) in enumerate(zip(ours, expected))
            for line in differences(one, other, f'{path}.{i}')
        ]
    if hasattr(expected, 'statistics'):  # HistoryBuffer
        ours, expected = (
            torch.tensor(x.data[0], dtype=torch.float64)
            for x in (ours, expected)
        )
    if isinstance(expected, torch.Tensor):
        same = ours.shape == expected.shape and torch.equal(
            torch.nan_to_num(ours), torch.nan_to_num(expected)
        )
        return [] if same else [path]
    return [] if ours == expected else [path]


def campaign(
    record, config, folder, kills, minutes, threads, chance, progress
):
    """Train a reference run, then runs that are killed.

    The reference run has the first of the numbers of threads, the others have
    any of them, another one each time that they continue.
    """
    task = progress.add_task(
        f'{record.toolbox}, {record.processes} process(es): reference run',
        total=kills,
    )
    start = time.monotonic()
    life = Life(config, folder / 'reference', record.processes, threads[0])
    life.wait_for(life.trains, 600)
    starting = time.monotonic() - start
    life.wait()
    if life.status():
        raise SystemExit(f'the reference run failed: see {life.log}')
    expected = last(folder / 'reference')
    end = time.monotonic() + 60 * minutes

    run = 0
    while record.kills < kills and time.monotonic() < end:
        run += 1
        work_dir = folder / f'run_{run}'
        before = None
        while True:
            progress.update(
                task,
                completed=record.kills,
                description=f'{record.toolbox}, {record.processes} '
                f'process(es), run {run}, {record.resumes} resumes',
            )
            life = Life(
                config, work_dir, record.processes, chance.choice(threads)
            )
            if record.kills < kills and time.monotonic() < end:
                wait_and_kill(life, record, starting, chance)
            life.wait()
            status = life.status()
            count(life, record, before)
            before = life.steps() or before
            if status == 0:
                break
            if not life.killed:
                record.lost_runs.append(str(life.log))
                break
        if status == 0:
            record.finished_runs += 1
            lines = differences(last(work_dir), expected)
            if lines:
                record.differences.append(
                    f'run {run}: {len(lines)} entries, such as {lines[0]}'
                )
    progress.update(task, completed=record.kills)


def wait_and_kill(life, record, starting, chance):
    """Kill a process while it writes, while it starts, or while it trains."""
    rank = chance.randrange(record.processes) if record.processes > 1 else None
    in_write = rank != 1 and chance.random() < 0.5
    if in_write:
        for _ in range(chance.randint(1, 4)):
            if not life.wait_for(life.writes):
                return
            if not life.wait_for(lambda: not life.writes()):
                return
        if not life.wait_for(life.writes):
            return
        time.sleep(chance.uniform(0, 0.02))
    else:
        moment = chance.uniform(0, starting)
        if chance.random() < 0.5:
            if not life.wait_for(life.trains):
                return
            moment = chance.uniform(0, 4)
        end = time.monotonic() + moment
        life.wait_for(lambda: time.monotonic() > end)
    if life.runs():
        life.kill(rank)
        life.killed = True
        record.kills += 1
        record.kills_in_writes += life.writes()


def count(life, record, before):
    """Count what a process left when it ended."""
    record.torn_files += len(torn(life.work_dir))
    resumed = life.resumed()
    if resumed is not None:
        record.resumes += 1
        if before is not None:
            lost = before - resumed
            record.steps_lost_at_most = max(record.steps_lost_at_most, lost)


def show(records: list[Record]) -> None:
    table = Table(title='Killed and resumed')
    for column in (
        'toolbox',
        'processes',
        'kills',
        'in a write',
        'resumes',
        'runs',
        'torn files',
        'steps lost at most',
        'lost runs',
        'differences',
    ):
        table.add_column(column, justify='right')
    for r in records:
        table.add_row(
            r.toolbox,
            *map(
                str,
                (
                    r.processes,
                    r.kills,
                    r.kills_in_writes,
                    r.resumes,
                    r.finished_runs,
                    r.torn_files,
                    r.steps_lost_at_most,
                    len(r.lost_runs),
                    len(r.differences),
                ),
            ),
        )
    Console().print(table)
    for r in records:
        for line in [*r.lost_runs, *r.differences][:10]:
            print(r.toolbox, line)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__.partition('\n')[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        '--toolbox', nargs='+', choices=TOOLBOXES, default=list(TOOLBOXES)
    )
    parser.add_argument(
        '--kills',
        type=int,
        default=30,
        help='number of kills of a single process, per toolbox',
    )
    parser.add_argument(
        '--rank-kills',
        type=int,
        default=5,
        help='number of kills of one of two processes, per toolbox',
    )
    parser.add_argument(
        '--epochs',
        type=int,
        default=10,
        help='epochs of a run, of 16 iterations each',
    )
    parser.add_argument(
        '--minutes',
        type=float,
        default=20,
        help='time after which a campaign kills no more',
    )
    parser.add_argument(
        '--workers', type=int, default=0, help='workers of each data loader'
    )
    parser.add_argument(
        '--threads',
        type=int,
        nargs='+',
        default=[1],
        help='numbers of threads; each start of a run draws one of them',
    )
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--out', type=Path, default=Path('work_dirs/kills'))
    args = parser.parse_args()
    os.environ['OMP_NUM_THREADS'] = str(max(args.threads))
    multiprocessing.set_start_method('forkserver')
    multiprocessing.set_forkserver_preload(
        ['mmfft.engine', *(PRELOAD[toolbox] for toolbox in args.toolbox)]
    )
    # Import the libraries now: that is not part of the start of a training.
    warm_up = multiprocessing.Process(target=print)
    warm_up.start()
    warm_up.join()
    out = args.out.resolve() / time.strftime('%Y%m%d_%H%M%S')
    data = out / 'data'
    make_digit_scenes(
        data,
        DigitScenesConfig(
            train_scenes=32, val_scenes=2, train_crops=32, val_crops=4
        ),
        workers=1,
        progress=False,
    )
    records = []
    with Progress() as progress:
        for toolbox in args.toolbox:
            base, below, more = TOOLBOXES[toolbox]
            config = out / f'{toolbox}.py'
            config.write_text(
                (COMMON + more).format(
                    base=ROOT / 'configs' / 'demo' / base,
                    data=data / below,
                    interval=INTERVAL,
                    epochs=args.epochs,
                    workers=args.workers,
                )
            )
            for processes, kills in ((1, args.kills), (2, args.rank_kills)):
                if not kills:
                    continue
                record = Record(toolbox, processes)
                records.append(record)
                campaign(
                    record,
                    config,
                    out / f'{toolbox}_{processes}',
                    kills,
                    args.minutes,
                    args.threads,
                    random.Random(args.seed),
                    progress,
                )
                (out / 'records.json').write_text(
                    json.dumps([asdict(r) for r in records], indent=2)
                )
    show(records)
    if any(r.lost_runs or r.differences or r.torn_files for r in records):
        sys.exit(1)


if __name__ == '__main__':
    main()
