# Copyright (c) mmfft authors. All rights reserved.
"""Accuracy of a classifier at other image sizes, for each filter_resize.

A classifier without filters can be tested beside: it has one way, ``'-'``.
"""

import time
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.registry import MODELS

from ..datasets.paths import check_data
from ..engine import apply_test_options, build_runner
from ..errors import ConfigError, require_one_of, require_whole_number
from ..models import FourierBackbone
from ..openmmlab.scopes import (
    class_of,
    is_subclass,
    leaf_datasets,
    toolbox,
)
from ..ops.resize import FILTER_RESIZE_MODES
from .records import Records, around, markdown_table, mean_and_spread

_METRIC = 'accuracy/top1'
NO_FILTERS = '-'
# Approximately the mean that is subtracted from images.
_GREY = 124


def enlarged(
    pipeline: Sequence[dict], old_size: int, new_size: int
) -> list[dict]:
    """Make a test pipeline show the same part of a picture at another size.

    The sizes to which it resizes or crops change in proportion. A pipeline
    that takes images as they are gets a bicubic ``Resize`` before its last
    step, which packs them.

    Args:
        pipeline (Sequence[dict]): Test pipeline of mmpretrain.
        old_size (int): Side of its images in pixels.
        new_size (int): Wanted side in pixels.

    Returns:
        list[dict]: New pipeline.
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
    """Make a test pipeline pad a picture with grey on the right and below.

    For detection, images are padded to a common size in the same way.

    Args:
        pipeline (Sequence[dict]): Test pipeline of mmpretrain.
        old_size (int): Side of its images in pixels.
        new_size (int): Wanted side in pixels, not smaller than ``old_size``.

    Returns:
        list[dict]: New pipeline.

    Raises:
        ConfigError: If ``new_size`` is smaller than ``old_size``.
    """
    if new_size < old_size:
        raise ConfigError(
            f'sizes: images of side {old_size} cannot be padded to {new_size}'
        )
    *steps, pack = deepcopy(list(pipeline))
    pad = dict(type='Pad', size=(new_size, new_size), pad_val=dict(img=_GREY))
    return [*steps, pad, pack]


# Ways to bring a test image to another size.
VIEWS = dict(enlarge=enlarged, pad=padded)


def transfer_config(
    base: Config,
    checkpoint: str,
    size: int,
    mode: str,
    view: str = 'enlarge',
    img_size: int | None = None,
) -> Config:
    """Make the config of one test.

    Args:
        base (Config): Config of a classifier of mmpretrain for square images.
        checkpoint (str): Path or URL of its weights.
        size (int): Side of the test images in pixels.
        mode (str): ``filter_resize`` of the backbone; :data:`NO_FILTERS` for
            a backbone that is not of mmfft.
        view (str): Way to bring the images to this size, one of
            :data:`VIEWS`. Defaults to ``'enlarge'``.
        img_size (int, optional): Side of the images of the config in pixels.
            Defaults to that of the backbone.

    Returns:
        Config: Config that is ready for a Runner.

    Raises:
        ConfigError: If the config is of another kind or an argument is out of
            range.
    """
    require_one_of('view', view, list(VIEWS))
    require_whole_number('sizes', size, 1)
    if toolbox(base) != 'mmpretrain':
        raise ConfigError(
            'the config must be a classifier of mmpretrain, but its '
            f'default_scope is {toolbox(base)!r}'
        )
    require_one_of('modes', mode, modes_of(base))
    cfg = deepcopy(base)
    if img_size is None:
        img_size = stored_size(base)
    if mode != NO_FILTERS:
        cfg.model.backbone.filter_resize = mode
    for dataset in leaf_datasets(cfg.test_dataloader.dataset):
        dataset['pipeline'] = VIEWS[view](dataset['pipeline'], img_size, size)
    apply_test_options(cfg, checkpoint)
    # The results are printed and kept; the logs would bury them.
    cfg.log_level = 'WARNING'
    cfg.experiment_name = f'{mode}_{size}_{time.time_ns()}'
    return cfg


def modes_of(base: Config) -> tuple[str, ...]:
    """Ways in which the backbone of a config can meet another size."""
    backbone = class_of(MODELS, base.model.backbone, base)
    if is_subclass(backbone, FourierBackbone):
        return FILTER_RESIZE_MODES
    return (NO_FILTERS,)


def stored_size(base: Config) -> int:
    """Side of the images for which the filters of a config are stored.

    Raises:
        ConfigError: If the backbone does not say it, or is not square.
    """
    fourier = modes_of(base) == FILTER_RESIZE_MODES
    img_size = base.model.backbone.get('img_size', 224 if fourier else None)
    if not isinstance(img_size, int):
        raise ConfigError(
            'model.backbone.img_size of the config must be one int, got '
            f'{img_size!r}: img_size of the test says the side of its images'
        )
    return img_size


def accuracy(cfg: Config) -> float:
    """Top-1 accuracy in percent of a config from :func:`transfer_config`."""
    return float(build_runner(cfg).test()[_METRIC])


def run_transfer(
    base: Config,
    checkpoints: Sequence[str],
    sizes: Sequence[int],
    modes: Sequence[str] | None = None,
    view: str = 'enlarge',
    out: str | Path = 'work_dirs/resolution_transfer',
    img_size: int | None = None,
) -> list[dict]:
    """Test each checkpoint at each size in each mode.

    At the size for which the filters are stored all modes are equal, and only
    one of them is tested.

    Args:
        base (Config): Config of the study, see :func:`transfer_config`.
        checkpoints (Sequence[str]): Paths or URLs of weights for the config,
            such as those of several seeds.
        sizes (Sequence[int]): Sides of the test images in pixels.
        modes (Sequence[str], optional): Values of ``filter_resize``. Defaults
            to :func:`modes_of`, all that there are.
        view (str): Way to bring the images to a size, see
            :func:`transfer_config`. Defaults to ``'enlarge'``.
        out (str | Path): Folder of ``transfer.csv``, which is overwritten.
            Defaults to ``'work_dirs/resolution_transfer'``.
        img_size (int, optional): Side of the images of the config in pixels.
            Defaults to that of the backbone.

    Returns:
        list[dict]: Rows of ``checkpoint``, ``size``, ``mode``, ``top1``.
    """
    check_data(base, 'test')
    stored = stored_size(base) if img_size is None else img_size
    modes = modes_of(base) if modes is None else modes
    configs = {
        (checkpoint, size, mode): transfer_config(
            base, checkpoint, size, mode, view, stored
        )
        for checkpoint in checkpoints
        for size in sizes
        for mode in modes
    }
    path = Path(out) / 'transfer.csv'
    path.unlink(missing_ok=True)
    records = Records(path, ('checkpoint', 'size', 'mode'), ('top1',))
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
        rows (Sequence[dict]): Rows from :func:`run_transfer`.

    Returns:
        dict[tuple[int, str], tuple]: By size and mode, the mean of top-1 in
        percent and its sample standard deviation, None for one checkpoint.
    """
    groups: dict[tuple[int, str], list[float]] = {}
    for row in rows:
        case = int(row['size']), row['mode']
        groups.setdefault(case, []).append(row['top1'])
    return {case: mean_and_spread(groups[case]) for case in sorted(groups)}


def summary_table(summary: dict[tuple[int, str], tuple]) -> str:
    """Format the result of :func:`summarize` as a table, one row per size."""
    modes = _modes_in(summary)
    return markdown_table(
        ['size', *modes],
        [
            [str(size), *(around(*summary[size, mode]) for mode in modes)]
            for size in sorted({size for size, _ in summary})
        ],
    )


def _modes_in(summary: dict[tuple[int, str], tuple]) -> list[str]:
    modes = (*FILTER_RESIZE_MODES, NO_FILTERS)
    return [m for m in modes if any(m in case for case in summary)]


def plot_transfer(
    summary: dict[tuple[int, str], tuple], path: str | Path
) -> None:
    """Plot accuracy against size, one line per mode, with spreads as bars.

    Args:
        summary (dict): Means and spreads from :func:`summarize`.
        path (str | Path): Path of the PNG to write.
    """
    figure = Figure(figsize=(6.5, 3.8))
    axis = figure.subplots()
    for mode in _modes_in(summary):
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
