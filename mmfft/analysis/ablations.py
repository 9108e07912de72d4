# Copyright (c) mmfft authors. All rights reserved.
"""The ablations of `FFT-based Dynamic Token Mixer for Vision
<https://arxiv.org/abs/2303.03932>`_ in miniature.

Each variant of the backbone is trained from scratch with several seeds;
everything else is taken from the config.
"""

import statistics
import time
from collections.abc import Sequence
from copy import deepcopy
from itertools import islice
from pathlib import Path

from matplotlib.figure import Figure
from mmengine.config import Config, ConfigDict
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS
from mmengine.runner import Runner

from ..datasets.paths import check_data
from ..engine import apply_train_options, build_model, build_runner
from ..errors import ConfigError
from ..models import MetaFormer
from ..openmmlab.scopes import class_of, is_subclass
from .records import Records, around, markdown_table, mean_and_spread

_DYNAMIC = dict(type='mmfft.DFFormer')
# What each variant changes in the backbone, and its description.
PAPER = {
    'gfformer': (dict(type='mmfft.GFFormer'), 'static filters'),
    'dfformer': (_DYNAMIC, 'dynamic filters, N=4, rho=1/4, StarReLU'),
    'dfformer-k1': (dict(_DYNAMIC, num_filters=1), 'as dfformer, N=1'),
    'dfformer-k2': (dict(_DYNAMIC, num_filters=2), 'as dfformer, N=2'),
    'dfformer-k8': (dict(_DYNAMIC, num_filters=8), 'as dfformer, N=8'),
    'dfformer-d8': (
        dict(_DYNAMIC, reweight_ratio=0.125),
        'as dfformer, rho=1/8',
    ),
    'dfformer-d2': (
        dict(_DYNAMIC, reweight_ratio=0.5),
        'as dfformer, rho=1/2',
    ),
    'dfformer-gelu': (
        dict(_DYNAMIC, act_cfg=dict(type='mmfft.GELU')),
        'as dfformer, GELU except in the routing',
    ),
    'dfformer-relu': (
        dict(_DYNAMIC, act_cfg=dict(type='mmfft.ReLU')),
        'as dfformer, ReLU except in the routing',
    ),
    'dfformer-afno': (
        dict(_DYNAMIC, token_mixers=['AFNO2D'] * 4),
        'as dfformer, AFNO instead of filters',
    ),
    'cdfformer': (
        dict(type='mmfft.CDFFormer'),
        'convolutions, then dynamic filters',
    ),
    # With a norm at its end and layer scale, as published.
    'gfnet-h': (
        dict(type='mmfft.GFNetPyramid', out_norm=True),
        "GFNet's blocks, static filters without expansion",
    ),
}
# The backbone of the config from several starts, which are not the paper's.
STARTS = {
    'published': ((), 'as published'),
    'fan-in': (('fan_in',), "weights as PyTorch's own layers have them"),
    'centred': (('centred',), 'StarReLU of mean 0 and variance 1'),
    'strong-filters': (('strong_filters',), 'filters of gain 1'),
    'unit': (('unit',), 'weights of deviation 1 / sqrt(inputs)'),
    'fan-in-centred': (('fan_in', 'centred'), 'fan-in and centred'),
    'unit-centred': (('unit', 'centred'), 'unit and centred'),
    'unit-centred-strong': (
        ('unit', 'centred', 'strong_filters'),
        'and filters of gain 1',
    ),
    'unit-centred-passing': (
        ('unit', 'centred', 'passing_filters'),
        'and filters near the identity',
    ),
    'unit-centred-shrunk': (
        ('unit', 'centred', 'shrunk_branches'),
        "and branches divided by sqrt(N), init='unit_variance'",
    ),
}
VARIANTS = PAPER | {
    f'start-{name}': (
        dict(init_cfg=dict(type='mmfft.StartOfParts', parts=list(parts))),
        what,
    )
    for name, (parts, what) in STARTS.items()
}
# Initial value in the smaller GFNet-H.
_LAYER_SCALE = 1e-3
_METRIC = 'accuracy/top1'
# Parts of a config on which the result of a training depends.
_SETTINGS = (
    'model',
    'data_preprocessor',
    'train_dataloader',
    'val_dataloader',
    'optim_wrapper',
    'param_scheduler',
)
# Number of training steps that are timed for an estimate; the first is a
# warm-up.
_STEPS = 4


def variant_config(
    base: Config, variant: str, seed: int, epochs: int, work_dir: str | Path
) -> Config:
    """Make the config of one run.

    Args:
        base (Config): Config of a classifier of the MetaFormer family, whose
            schedule counts epochs.
        variant (str): Name of one of :data:`VARIANTS`.
        seed (int): Seed of the weights and of the order of the images.
        epochs (int): Length of the training; the schedule is shortened in
            proportion.
        work_dir (str | Path): Work directory of the run.

    Returns:
        Config: Config that is ready for a Runner.

    Raises:
        ConfigError: If the variant is unknown or the config is of another
            kind.
    """
    if variant not in VARIANTS:
        raise ConfigError(
            f'variants: {variant!r} is not one of {list(VARIANTS)}'
        )
    cfg = deepcopy(base)
    backbone = cfg.model.backbone
    cls = class_of(MODELS, backbone, cfg)
    if not is_subclass(cls, MetaFormer):
        raise ConfigError(
            'model.backbone of the config must be of the MetaFormer family, '
            f'whose widths and depths all variants share, got {backbone.type}'
        )
    # Variants of other classes have the widths of the same name, not the arch.
    arch = backbone.get('arch', 's18')
    backbone.setdefault('init', cls.default_init(arch))
    backbone.arch = dict(cls.resolve_arch(arch))
    changes, _ = VARIANTS[variant]
    cfg.model.backbone = ConfigDict({**backbone, **changes})
    if variant == 'gfnet-h':
        cfg.model.backbone.arch.layer_scale = _LAYER_SCALE
    _set_epochs(cfg, epochs)
    cfg.randomness = dict(seed=seed)
    cfg.work_dir = str(work_dir)
    cfg.experiment_name = f'{variant}_seed{seed}_{time.time_ns()}'
    return cfg


def _set_epochs(cfg: Config, epochs: int) -> None:
    schedulers = cfg.get('param_scheduler') or []
    if not isinstance(schedulers, list):
        schedulers = [schedulers]
    if not cfg.train_cfg.get('by_epoch') or not all(
        s.get('convert_to_iter_based') for s in schedulers
    ):
        raise ConfigError(
            'the config must train by epochs, with convert_to_iter_based in '
            'each param_scheduler, so that its schedule can be shortened'
        )
    factor = epochs / cfg.train_cfg.max_epochs
    cfg.train_cfg.update(max_epochs=epochs, val_interval=epochs)
    for scheduler in schedulers:
        for key in ('begin', 'end', 'T_max'):
            if key in scheduler:
                scheduler[key] *= factor


def seconds_of_run(cfg: Config) -> float:
    """Estimate the duration of a run from a few of its training steps.

    Args:
        cfg (Config): Config from :func:`variant_config`.

    Returns:
        float: Seconds, without the start and the validation.
    """
    model = build_model(cfg).train()
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    loader = Runner.build_dataloader(
        {**cfg.train_dataloader, 'persistent_workers': False}, seed=0
    )
    steps = []
    for data in islice(loader, _STEPS):
        start = time.perf_counter()
        model.train_step(data, wrapper)
        steps.append(time.perf_counter() - start)
    seconds = statistics.median(steps[1:] or steps)
    return seconds * len(loader) * cfg.train_cfg.max_epochs


def train_once(cfg: Config) -> dict[str, float]:
    """Train, or continue where an earlier run was stopped.

    Args:
        cfg (Config): Config from :func:`variant_config`.

    Returns:
        dict[str, float]: ``parameters`` of the backbone, ``top1`` in percent
        on the validation split after the last epoch, ``seconds``.
    """
    start = time.perf_counter()
    apply_train_options(cfg, resume='auto')
    runner = build_runner(cfg)
    runner.train()
    backbone = runner.model.backbone
    return dict(
        parameters=sum(p.numel() for p in backbone.parameters()),
        top1=float(runner.message_hub.get_scalar(f'val/{_METRIC}').current()),
        seconds=time.perf_counter() - start,
    )


def run_ablations(
    base: Config,
    out: str | Path,
    variants: Sequence[str] = tuple(PAPER),
    seeds: Sequence[int] = (0, 1, 2),
    epochs: int = 8,
) -> list[dict]:
    """Train every variant with every seed, except those in ``runs.csv``.

    All variants of one seed are trained before the next seed, so that a study
    that is stopped early compares all of them. What is left to train and the
    time that it will take are printed first.

    Args:
        base (Config): Config of the study, see :func:`variant_config`.
        out (str | Path): Folder of ``runs.csv`` and of the runs.
        variants (Sequence[str]): Names of :data:`VARIANTS`. Defaults to
            :data:`PAPER`.
        seeds (Sequence[int]): Seeds of each variant. Defaults to 0, 1 and 2.
        epochs (int): Length of each training. Defaults to 8.

    Returns:
        list[dict]: Rows of ``runs.csv`` for the given variants and seeds.

    Raises:
        ConfigError: If the folder contains runs of other settings, or as in
            :func:`variant_config`.
    """
    out = Path(out)
    check_data(base, 'train', 'val')
    _same_settings(base, epochs, out / 'settings.py')
    records = Records(
        out / 'runs.csv',
        ('variant', 'seed'),
        ('parameters', 'top1', 'seconds'),
    )
    cases = [dict(variant=v, seed=s) for s in seeds for v in variants]
    missing = [case for case in cases if case not in records]
    configs = [
        variant_config(
            base,
            **case,
            epochs=epochs,
            work_dir=out / f'{case["variant"]}_seed{case["seed"]}',
        )
        for case in missing
    ]
    left = _estimates(missing, configs)
    for i, (case, cfg) in enumerate(zip(missing, configs)):
        print(
            f'run {i + 1} of {len(missing)}: {case["variant"]}, seed '
            f'{case["seed"]}; about {sum(left[i:]) / 60:.0f} minutes left',
            flush=True,
        )
        records.add(dict(case, **train_once(cfg)))
    return [
        row
        for row in records.rows
        if row['variant'] in variants and int(row['seed']) in seeds
    ]


def _same_settings(base: Config, epochs: int, file: Path) -> None:
    """Refuse to mix runs of different settings in one folder."""
    settings = Config(
        dict({key: base.get(key) for key in _SETTINGS}, epochs=epochs)
    ).pretty_text
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(settings)
    elif file.read_text() != settings:
        raise ConfigError(
            f'{str(file.parent)!r} holds runs of another config or of another '
            'number of epochs: choose another --out'
        )


def _estimates(missing: list[dict], configs: list[Config]) -> list[float]:
    seconds: dict[str, float] = {}
    for case, cfg in zip(missing, configs):
        if case['variant'] not in seconds:
            seconds[case['variant']] = seconds_of_run(cfg)
    left = [seconds[case['variant']] for case in missing]
    print(
        f'{len(missing)} runs to train, about {sum(left) / 60:.0f} minutes '
        'plus validation, estimated from a few steps of each variant',
        flush=True,
    )
    return left


def summarize(rows: Sequence[dict]) -> list[dict]:
    """Mean and spread of each variant over its seeds.

    Args:
        rows (Sequence[dict]): Rows from :func:`run_ablations`.

    Returns:
        list[dict]: ``variant``, ``what``, ``parameters``, ``runs``, ``mean``,
        ``spread`` (sample standard deviation, None for one seed) of top-1 in
        percent and ``seconds`` of a run, in the order of :data:`VARIANTS`.
    """
    summary = []
    for variant, (_, what) in VARIANTS.items():
        mine = [row for row in rows if row['variant'] == variant]
        if not mine:
            continue
        mean, spread = mean_and_spread([row['top1'] for row in mine])
        summary.append(
            dict(
                variant=variant,
                what=what,
                parameters=mine[0]['parameters'],
                runs=len(mine),
                mean=mean,
                spread=spread,
                seconds=statistics.mean(row['seconds'] for row in mine),
            )
        )
    return summary


def summary_table(summary: Sequence[dict]) -> str:
    """Format the result of :func:`summarize` as a table in Markdown."""
    return markdown_table(
        [
            'variant',
            'what it is',
            'parameters',
            'runs',
            'top-1, %',
            's per run',
        ],
        [
            [
                row['variant'],
                row['what'],
                f'{row["parameters"] / 1e3:.0f} K',
                str(row['runs']),
                around(row['mean'], row['spread']),
                f'{row["seconds"]:.0f}',
            ]
            for row in summary
        ],
        left=2,
    )


def plot_ablations(rows: Sequence[dict], path: str | Path) -> None:
    """Plot one line per variant, with a dot per seed and a bar at the mean.

    Args:
        rows (Sequence[dict]): Rows from :func:`run_ablations`.
        path (str | Path): Path of the PNG to write.
    """
    summary = summarize(rows)
    figure = Figure(figsize=(7, 1 + 0.32 * len(summary)))
    axis = figure.subplots()
    for y, entry in enumerate(summary):
        top1 = [r['top1'] for r in rows if r['variant'] == entry['variant']]
        axis.plot(top1, [y] * len(top1), 'o', color='C0', alpha=0.6)
        axis.plot(entry['mean'], y, '|', color='black', markersize=16)
    axis.set_yticks(
        range(len(summary)), [entry['variant'] for entry in summary]
    )
    axis.set_ylim(len(summary) - 0.5, -0.5)
    axis.set_xlabel('top-1 accuracy, %: one dot per seed, a bar at the mean')
    axis.grid(axis='x', alpha=0.3)
    figure.tight_layout()
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
