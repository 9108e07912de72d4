# Copyright (c) mmfft authors. All rights reserved.
"""Throughput and peak memory of backbones against the image size."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import nn

from ..engine import image_channels
from ..measure import OUT_OF_MEMORY, compare, device_name
from .feature_models import last_features, load_feature_model
from .records import Records

_KEYS = ('device', 'threads', 'mode', 'batch', 'size', 'model')
_VALUES = ('images_per_second', 'memory')


def run_profile(
    models: Sequence[str],
    sizes: Sequence[int],
    out: str | Path,
    batch: int = 1,
    train: bool = False,
    device: torch.device = torch.device('cpu'),
    rounds: int = 5,
) -> list[dict]:
    """Measure every model at every size, except what was measured before.

    A call takes an image to the features of the last stage, with random
    weights; for training, it goes forward and backward. At each size the
    models are measured by turns, so that other load on the machine affects
    all of them, and the results are then written to ``profile.csv``.

    Args:
        models (Sequence[str]): Models as for :func:`.load_feature_model`.
            Filters are stored for each size, as after fine-tuning.
        sizes (Sequence[int]): Sides of the images in pixels, measured in
            ascending order.
        out (str | Path): Folder of ``profile.csv``.
        batch (int): Number of images at a time. Defaults to 1.
        train (bool): Whether to measure training. Defaults to False.
        device (torch.device): Device that is measured. Defaults to the CPU.
        rounds (int): Number of measurements, of which the median is taken.
            Defaults to 5.

    Returns:
        list[dict]: Rows of the given models and sizes: ``device``,
        ``threads``, ``mode``, ``batch``, ``size``, ``model``,
        ``images_per_second``, ``memory`` (peak bytes in a call, without
        weights and images); the last two are None if memory ran out.

    Raises:
        RuntimeError: If a model fails for another reason; the results of the
            others at that size are kept.
    """
    records = Records(Path(out) / 'profile.csv', _KEYS, _VALUES)
    case = dict(
        device=device_name(device),
        threads=torch.get_num_threads(),
        mode='train' if train else 'infer',
        batch=batch,
    )
    wanted = [
        dict(case, size=size, model=model)
        for size in sorted(set(sizes))
        for model in models
    ]
    for size in sorted(set(sizes)):
        missing = [
            row['model']
            for row in wanted
            if row['size'] == size and row not in records
        ]
        if not missing:
            continue
        print(f'{size}: {", ".join(missing)}', flush=True)
        calls, images = {}, {}
        for name in missing:
            model = load_feature_model(name, size).to(device)
            channels = image_channels(model)
            if channels not in images:
                images[channels] = torch.randn(
                    batch, channels, size, size, device=device
                )
            calls[name] = _call(model, images[channels], train)
        contenders = {
            model: partial(list, [call]) for model, call in calls.items()
        }
        results = compare(contenders, device, rounds, capture=False)
        failed = []
        for model, result in results.items():
            if result.get('error', OUT_OF_MEMORY) != OUT_OF_MEMORY:
                failed += [f'{model} at {size}:', *result['trace']]
                continue
            ms = result.get('ms')
            records.add(
                dict(
                    case,
                    size=size,
                    model=model,
                    images_per_second=ms and 1e3 * batch / ms,
                    memory=result.get('memory'),
                )
            )
        if failed:
            raise RuntimeError('\n'.join(failed))
    names = {tuple(str(row[key]) for key in _KEYS) for row in wanted}
    return [
        row
        for row in records.rows
        if tuple(row[key] for key in _KEYS) in names
    ]


def _call(model: nn.Module, images: torch.Tensor, train: bool):
    model.train(train)

    def call():
        with torch.set_grad_enabled(train):
            features = last_features(model, images)
        if train:
            features.mean().backward()
            # The next call must not free them: see peak_memory.
            model.zero_grad()

    return call


def plot_profile(rows: Sequence[dict], path: str | Path) -> None:
    """Plot throughput and memory against size, with one line per model.

    Args:
        rows (Sequence[dict]): Rows from :func:`run_profile`.
        path (str | Path): Path of the PNG to write.
    """
    figure = Figure(figsize=(10, 4))
    speed, memory = figure.subplots(1, 2)
    for i, model in enumerate(dict.fromkeys(row['model'] for row in rows)):
        mine = sorted(
            (
                (int(row['size']), row['images_per_second'], row['memory'])
                for row in rows
                if row['model'] == model and row['images_per_second']
            ),
        )
        if not mine:
            continue
        sizes, throughput, peak = zip(*mine)
        style = dict(
            marker='osv^D*'[i % 6], label=Path(model.partition('=')[0]).stem
        )
        speed.plot(sizes, throughput, **style)
        memory.plot(sizes, [n / 2**20 for n in peak], **style)
    first = rows[0]
    figure.suptitle(
        f'{first["device"]}, threads {first["threads"]}, {first["mode"]}, '
        f'batch {first["batch"]}',
        fontsize=9,
    )
    speed.set_ylabel('images / s')
    memory.set_ylabel('peak memory, MiB')
    for axis in (speed, memory):
        axis.set_yscale('log')
        axis.set_xticks(sorted({int(row['size']) for row in rows}))
        axis.yaxis.set_major_formatter('{x:g}')
        axis.yaxis.set_minor_formatter('{x:g}')
        axis.set_xlabel('side of the image, pixels')
        axis.grid(alpha=0.3, which='both')
    if speed.lines:
        speed.legend(fontsize=8)
    figure.tight_layout()
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
