# Copyright (c) mmfft authors. All rights reserved.
"""A trained classifier at other image sizes, by how its filters get there."""

import time
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

from matplotlib.figure import Figure
from mmengine.config import Config

from ..datasets.paths import check_data, leaf_datasets
from ..engine import apply_test_options, build_runner
from ..errors import ConfigError
from ..ops.resize import FILTER_RESIZE_MODES
from .records import Records, around, markdown_table, mean_and_spread

_METRIC = 'accuracy/top1'
# About the mean that is subtracted from images.
_GREY = 124


def enlarged(
    pipeline: Sequence[dict], old_size: int, new_size: int
) -> list[dict]:
    """The same part of the picture, larger or smaller.

    What the pipeline resizes or crops to changes in proportion. One that
    takes images as they are gets a bicubic ``Resize`` before it packs them.

    Args:
        pipeline (Sequence[dict]): Of a test in mmpretrain.
        old_size (int): Side of its images.
        new_size (int): Side wanted.

    Returns:
        list[dict]: A new pipeline.
    """
    pipeline = deepcopy(list(pipeline))
    changed = False
    for step in pipeline:
        for key in ('scale', 'crop_size'):
            if key in step:
                step[key] = _in_proportion(step[key], old_size, new_size)
                changed = True
    if not changed and new_size != old_size:
        resize = dict(
            type='Resize',
            scale=new_size,
            interpolation='bicubic',
            backend='pillow',
        )
        pipeline.insert(len(pipeline) - 1, resize)
    return pipeline


def _in_proportion(size, old_size: int, new_size: int):
    if isinstance(size, int):
        return round(size * new_size / old_size)
    return tuple(_in_proportion(n, old_size, new_size) for n in size)


def padded(
    pipeline: Sequence[dict], old_size: int, new_size: int
) -> list[dict]:
    """The same picture at its scale, grey to its right and below it.

    As images are padded to a common size for detection.

    Args:
        pipeline (Sequence[dict]): Of a test in mmpretrain.
        old_size (int): Side of its images.
        new_size (int): Side wanted, not smaller.

    Returns:
        list[dict]: A new pipeline.

    Raises:
        ConfigError: If the size is smaller.
    """
    if new_size < old_size:
        raise ConfigError(
            f'sizes: images of side {old_size} cannot be padded to {new_size}'
        )
    *steps, pack = deepcopy(list(pipeline))
    pad = dict(type='Pad', size=(new_size, new_size), pad_val=dict(img=_GREY))
    return [*steps, pad, pack]


# How a test image comes to another size.
VIEWS = dict(enlarge=enlarged, pad=padded)


def transfer_config(
    base: Config,
    checkpoint: str,
    size: int,
    mode: str,
    view: str = 'enlarge',
) -> Config:
    """The config of one test.

    Args:
        base (Config): A classifier of mmpretrain on a square image size.
        checkpoint (str): Its weights.
        size (int): Side of the images.
        mode (str): ``filter_resize`` of the backbone.
        view (str): How the images come to this size, of :data:`VIEWS`.
            Defaults to ``'enlarge'``.

    Returns:
        Config: Ready for a Runner.

    Raises:
        ConfigError: If the config is another or an argument is out of range.
    """
    if mode not in FILTER_RESIZE_MODES:
        raise ConfigError(
            f'modes: {mode!r} is not one of {list(FILTER_RESIZE_MODES)}'
        )
    if view not in VIEWS:
        raise ConfigError(f'view={view!r} is not one of {list(VIEWS)}')
    if size < 1:
        raise ConfigError(f'sizes must be positive, got {size}')
    if base.get('default_scope') != 'mmpretrain':
        raise ConfigError(
            'the config must be a classifier of mmpretrain, its default_scope '
            f'is {base.get("default_scope")!r}'
        )
    if not base.model.backbone.type.startswith('mmfft.'):
        raise ConfigError(
            f'{base.model.backbone.type} has no filters to resize: '
            'model.backbone must be one of mmfft'
        )
    cfg = deepcopy(base)
    img_size = cfg.model.backbone.get('img_size', 224)
    if not isinstance(img_size, int):
        raise ConfigError(
            'model.backbone.img_size of the config must be one int, got '
            f'{img_size!r}'
        )
    cfg.model.backbone.filter_resize = mode
    for dataset in leaf_datasets(cfg.test_dataloader.dataset):
        dataset['pipeline'] = VIEWS[view](dataset['pipeline'], img_size, size)
    apply_test_options(cfg, checkpoint)
    # The results are printed and kept; the logs would bury them.
    cfg.log_level = 'WARNING'
    cfg.experiment_name = f'{mode}_{size}_{time.time_ns()}'
    return cfg


def accuracy(cfg: Config) -> float:
    """Top-1 accuracy in percent of a config from :func:`transfer_config`."""
    return float(build_runner(cfg).test()[_METRIC])


def run_transfer(
    base: Config,
    checkpoints: Sequence[str],
    sizes: Sequence[int],
    modes: Sequence[str] = FILTER_RESIZE_MODES,
    view: str = 'enlarge',
    out: str | Path = 'work_dirs/resolution_transfer',
) -> list[dict]:
    """Accuracy of each checkpoint at each size in each mode.

    At the size that the filters are stored for all modes are one, and it is
    tested once.

    Args:
        base (Config): See :func:`transfer_config`.
        checkpoints (Sequence[str]): Weights of the config, such as those of
            several seeds.
        sizes (Sequence[int]): Sides of the images.
        modes (Sequence[str]): Of ``filter_resize``. Defaults to all.
        view (str): See :func:`transfer_config`. Defaults to ``'enlarge'``.
        out (str | Path): Folder of ``transfer.csv``, which is written anew.

    Returns:
        list[dict]: ``checkpoint``, ``size``, ``mode``, ``top1``.
    """
    check_data(base, 'test')
    configs = {
        (checkpoint, size, mode): transfer_config(
            base, checkpoint, size, mode, view
        )
        for checkpoint in checkpoints
        for size in sizes
        for mode in modes
    }
    path = Path(out) / 'transfer.csv'
    path.unlink(missing_ok=True)
    records = Records(path, ('checkpoint', 'size', 'mode'), ('top1',))
    stored = base.model.backbone.get('img_size', 224)
    at_stored_size: dict[str, float] = {}
    for (checkpoint, size, mode), cfg in configs.items():
        if size == stored:
            if checkpoint not in at_stored_size:
                at_stored_size[checkpoint] = accuracy(cfg)
            top1 = at_stored_size[checkpoint]
        else:
            top1 = accuracy(cfg)
        records.add(
            dict(checkpoint=checkpoint, size=size, mode=mode, top1=top1)
        )
        print(f'{checkpoint}, {size}, {mode}: {top1:.2f} %', flush=True)
    return records.rows


def summarize(rows: Sequence[dict]) -> dict[tuple[int, str], tuple]:
    """Mean and spread over the checkpoints.

    Args:
        rows (Sequence[dict]): From :func:`run_transfer`.

    Returns:
        dict[tuple[int, str], tuple]: By size and mode the mean of top-1 in
        percent and its sample standard deviation, None for one checkpoint.
    """
    groups: dict[tuple[int, str], list[float]] = {}
    for row in rows:
        case = int(row['size']), row['mode']
        groups.setdefault(case, []).append(row['top1'])
    return {case: mean_and_spread(groups[case]) for case in sorted(groups)}


def summary_table(summary: dict[tuple[int, str], tuple]) -> str:
    """What :func:`summarize` returns as a table, a row a size."""
    modes = [m for m in FILTER_RESIZE_MODES if any(m in c for c in summary)]
    return markdown_table(
        ['size', *modes],
        [
            [str(size), *(around(*summary[size, mode]) for mode in modes)]
            for size in sorted({size for size, _ in summary})
        ],
    )


def plot_transfer(
    summary: dict[tuple[int, str], tuple], path: str | Path
) -> None:
    """Accuracy against size, a line a mode, spreads as bars.

    Args:
        summary (dict): From :func:`summarize`.
        path (str | Path): PNG to write.
    """
    figure = Figure(figsize=(6.5, 3.8))
    axis = figure.subplots()
    for mode in FILTER_RESIZE_MODES:
        points = [(s, *v) for (s, m), v in summary.items() if m == mode]
        if points:
            sizes, means, spreads = zip(*points)
            axis.errorbar(
                sizes,
                means,
                [spread or 0 for spread in spreads],
                marker='o',
                capsize=3,
                label=mode,
            )
    axis.set_xlabel('side of the test images, pixels')
    axis.set_ylabel('top-1 accuracy, %')
    axis.grid(alpha=0.3)
    axis.legend(title='filter_resize')
    figure.tight_layout()
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
