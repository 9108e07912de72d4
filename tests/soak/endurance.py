# Copyright (c) mmfft authors. All rights reserved.
"""Train for a long time on images of many sizes, and watch memory and speed.

    python tests/soak/endurance.py --steps 2000

The demo's classifier is trained on DigitScenes by a Runner, as in
tools/train.py, with each batch scaled to a different height and width. Every
250 steps it is evaluated, also at different sizes, and a checkpoint is saved.
Printed are the memory in use and the resident memory, the open files, the
filters that are kept for other grids, and the images per second over the
course of the training. Memory in use is what glibc has handed out. Tensors of
ever new sizes leave gaps between each other, which it keeps as free memory, so
the resident memory is larger and levels off later; --fixed shows training
without that. On a machine with other users the speed is uncertain; see its
spread.
"""

import argparse
import ctypes
import json
import os
import statistics
import time
from itertools import cycle
from pathlib import Path

import numpy as np
import torch
from matplotlib import pyplot
from mmengine.hooks import Hook
from mmpretrain.models import ImageClassifier
from rich.console import Console
from rich.table import Table
from torch.nn import functional

from mmfft.datasets import DigitScenesConfig, make_digit_scenes
from mmfft.engine import build_runner, load_config
from mmfft.layers.grid_parameter import GridParameter
from mmfft.ops import matmul
from mmfft.registry import HOOKS, MODELS

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'configs/demo/cdfformer-nano_1xb32-6e_digit-crops.py'
SIZES = range(32, 129, 8)


@MODELS.register_module()
class MultiScaleClassifier(ImageClassifier):
    """Classifier that scales each batch to a different height and width.

    Args:
        period (int): Number of steps after which the sizes repeat, so that
            parts of a training can be compared; 1 for the same size always.
        **kwargs: Arguments of mmpretrain's ImageClassifier.
    """

    def __init__(self, period: int, **kwargs) -> None:
        super().__init__(**kwargs)
        sizes = np.random.default_rng(0).choice(SIZES, (period, 2))
        self.sizes = cycle(sizes.tolist())
        self.fixed = period == 1

    def forward(self, inputs, *args, **kwargs):
        size = np.random.choice(SIZES, 2).tolist()
        if self.training or self.fixed:
            size = next(self.sizes)
        return super().forward(
            functional.interpolate(inputs, size), *args, **kwargs
        )


@HOOKS.register_module()
class Watch(Hook):
    """Hook that records what may grow."""

    def __init__(self, interval: int) -> None:
        self.interval = interval
        self.rows = []
        self.seconds = []

    def before_train(self, runner):
        self.kept = [
            m for m in runner.model.modules() if isinstance(m, GridParameter)
        ]

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.start = time.perf_counter(), time.process_time()

    def after_train_iter(self, runner, batch_idx, **kwargs):
        self.seconds.append(
            (
                time.perf_counter() - self.start[0],
                time.process_time() - self.start[1],
            )
        )
        if self.every_n_train_iters(runner, self.interval):
            self.rows.append(self._measure(runner))

    def after_val_epoch(self, runner, metrics=None):
        self.at_validation = self._measure(runner)

    def _measure(self, runner) -> dict:
        kept = [m._kept[1] for m in self.kept if m._kept]
        return dict(
            step=runner.iter + 1,
            in_use=in_use(),
            resident=resident(),
            files=len(os.listdir('/proc/self/fd')),
            kept_filters=len(kept),
            kept_bytes=sum(t.numel() * t.element_size() for t in kept),
            tables=table_cache(),
        )


def resident() -> int:
    """Resident memory of this process in bytes."""
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    return pages * os.sysconf('SC_PAGE_SIZE')


class MallInfo(ctypes.Structure):
    """What glibc knows of its memory, in bytes (``man mallinfo``)."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            'arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks '
            'fordblks keepcost'
        ).split()
    ]


def in_use() -> int:
    """Bytes of memory that glibc has handed out in this process."""
    mallinfo = ctypes.CDLL(None).mallinfo2
    mallinfo.restype = MallInfo
    info = mallinfo()
    return info.uordblks + info.hblkhd


def table_cache() -> int:
    """Number of cosine tables in the operator's cache, at most 64."""
    return sum(
        f.cache_info().currsize
        for f in vars(matmul).values()
        if hasattr(f, 'cache_info')
    )


def train(args, data: Path, out: Path) -> Watch:
    cfg = load_config(str(CONFIG), str(out))
    cfg.model.type = 'mmfft.MultiScaleClassifier'
    cfg.model.period = 1 if args.fixed else args.steps // 10
    cfg.train_cfg = dict(
        type='IterBasedTrainLoop', max_iters=args.steps, val_interval=250
    )
    cfg.param_scheduler = None
    cfg.train_dataloader.sampler.type = 'InfiniteSampler'
    cfg.train_dataloader.batch_size = args.batch
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset.data_root = str(data)
        loader.num_workers = 1
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=250)
    cfg.log_processor = dict(by_epoch=False)
    cfg.custom_hooks.append(
        dict(type='mmfft.Watch', interval=max(1, args.steps // 40))
    )
    runner = build_runner(cfg)
    runner.train()
    return next(hook for hook in runner.hooks if isinstance(hook, Watch))


def show(args, watch: Watch, out: Path) -> None:
    mib = 2**20
    sizes = 1 if args.fixed else len(SIZES) ** 2
    table = Table(title=f'{args.steps} steps, {sizes} sizes')
    for head in (
        'step',
        'in use MiB',
        'resident MiB',
        'open files',
        'cosine tables',
    ):
        table.add_column(head, justify='right')
    for row in watch.rows[3::4]:
        table.add_row(
            str(row['step']),
            f'{row["in_use"] / mib:.1f}',
            f'{row["resident"] / mib:.1f}',
            str(row['files']),
            str(row['tables']),
        )
    console = Console(width=100)
    console.print(table)
    kept = watch.at_validation
    print(
        f'filters kept for another grid, after an evaluation: '
        f'{kept["kept_filters"]} of {len(watch.kept)} layers, '
        f'{kept["kept_bytes"] / 1024:.0f} KiB'
    )
    tenth = args.steps // 10
    for name, column in (('wall', 0), ('CPU', 1)):
        tenths = [
            [s[column] for s in watch.seconds[i * tenth : (i + 1) * tenth]]
            for i in range(10)
        ]
        rates = [args.batch * tenth / sum(part) for part in tenths]
        # Steps of the same size are compared; the median ignores hiccups.
        ratio = statistics.median(
            first / last for first, last in zip(tenths[0], tenths[-1])
        )
        print(
            f'images per second of {name} time, tenth by tenth: '
            + ', '.join(f'{rate:.1f}' for rate in rates)
            + f'; last to first, median of steps of one size: {ratio:.3f}'
        )
    half = [row for row in watch.rows if row['step'] > args.steps / 2]
    for what in ('in_use', 'resident'):
        growth = (half[-1][what] - half[0][what]) / mib
        print(f'{what} over the second half: {growth:+.1f} MiB')
    (out / 'endurance.json').write_text(
        json.dumps(dict(rows=watch.rows, seconds=watch.seconds))
    )
    figure, axis = pyplot.subplots(figsize=(6, 3))
    for what in ('resident', 'in_use'):
        axis.plot(
            [row['step'] for row in watch.rows],
            [row[what] / mib for row in watch.rows],
            label=what,
        )
    axis.legend()
    axis.set(xlabel='step', ylabel='MiB', ylim=(0, None))
    axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(out / 'endurance.png', dpi=100)
    print(f'written: {out / "endurance.png"}')


def main():
    parser = argparse.ArgumentParser(
        description=__doc__.partition('\n')[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('--steps', type=int, default=2000)
    parser.add_argument('--batch', type=int, default=4)
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument(
        '--fixed', action='store_true', help='all batches of the same size'
    )
    parser.add_argument('--out', type=Path, default='work_dirs/endurance')
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    pyplot.switch_backend('Agg')
    out = args.out.resolve() / time.strftime('%Y%m%d_%H%M%S')
    data = out / 'data'
    make_digit_scenes(
        data,
        DigitScenesConfig(
            train_scenes=1, val_scenes=1, train_crops=200, val_crops=20
        ),
        workers=1,
        progress=False,
    )
    show(args, train(args, data, out), out)


if __name__ == '__main__':
    main()
