# Copyright (c) mmfft authors. All rights reserved.
"""What the command lines do with a config before they run it."""

import contextlib
import difflib
import sys
from collections.abc import Iterator, Sequence
from copy import deepcopy
from pathlib import Path

from mmengine.config import Config, ConfigDict
from mmengine.dist import is_main_process
from mmengine.fileio import dump

from ..errors import ConfigError


@contextlib.contextmanager
def print_config_errors(program: str) -> Iterator[None]:
    """Print a :class:`ConfigError` as one line and exit with status 2."""
    try:
        yield
    except ConfigError as error:
        print(f'{program}: error: {error}', file=sys.stderr)
        sys.exit(2)


def load_config(
    path: str,
    work_dir: str | None = None,
    cfg_options: dict | None = None,
    launcher: str = 'none',
) -> Config:
    """Read a config and settle what every command line settles.

    Args:
        path (str): Config file.
        work_dir (str, optional): Where logs and checkpoints go. Defaults to
            the config's own, or ``work_dirs/<name of the config>``.
        cfg_options (dict, optional): Overrides as of ``--cfg-options``.
        launcher (str): ``'none'``, ``'pytorch'``, ``'slurm'`` or ``'mpi'``.

    Returns:
        Config: Ready for a Runner.

    Raises:
        ConfigError: If the file does not exist.
    """
    file = Path(path)
    if not file.is_file():
        raise ConfigError(f'config {path!r} does not exist{_close_to(file)}')
    cfg = Config.fromfile(path)
    if cfg_options:
        cfg.merge_from_dict(cfg_options)
    cfg.launcher = launcher
    cfg.work_dir = work_dir or cfg.get('work_dir') or f'work_dirs/{file.stem}'
    return cfg


def _close_to(file: Path) -> str:
    folders = [p for p in file.parents if p.is_dir() and p != Path('.')]
    names = {p.name: p for d in folders[:1] for p in sorted(d.rglob('*.py'))}
    close = difflib.get_close_matches(file.name, names, n=3, cutoff=0.4)
    if not close:
        return ''
    return '; close to it: ' + ', '.join(str(names[name]) for name in close)


def check_data(cfg: Config, *splits: str) -> None:
    """See that folders and annotation files are there before a run starts.

    Args:
        cfg (Config): Of any of the three toolboxes.
        *splits (str): ``'train'``, ``'val'``, ``'test'``; those that the
            config does not have are passed over.

    Raises:
        ConfigError: Naming the first path that is missing and, where the
            config tells it as ``data_preparation``, how to get it.
    """
    for split in splits:
        loader = cfg.get(f'{split}_dataloader')
        if not loader:
            continue
        for dataset in _leaf_datasets(loader['dataset']):
            for key, path in _data_paths(dataset):
                if '://' in path or Path(path).exists():
                    continue
                hint = cfg.get('data_preparation')
                raise ConfigError(
                    f'{key} of {split}_dataloader does not exist: {path!r}'
                    + (f'; to make it: {hint}' if hint else '')
                )


def _leaf_datasets(dataset: dict) -> Iterator[dict]:
    inner = dataset.get('datasets') or dataset.get('dataset')
    if inner is None:
        yield dataset
    else:
        for one in inner if isinstance(inner, (list, tuple)) else [inner]:
            yield from _leaf_datasets(one)


def _data_paths(dataset: dict) -> Iterator[tuple[str, str]]:
    root = dataset.get('data_root') or ''
    if root:
        yield 'data_root', root
    prefix = dataset.get('data_prefix') or {}
    prefixes = prefix if isinstance(prefix, dict) else {'': prefix}
    below = {'ann_file': dataset.get('ann_file'), **prefixes}
    for key, path in below.items():
        if isinstance(path, str) and path:
            remote = '://' in path
            yield (
                key if key == 'ann_file' else 'data_prefix',
                path if remote else str(Path(root) / path),
            )


def apply_train_options(
    cfg: Config,
    resume: str | None = None,
    amp: bool = False,
    auto_scale_lr: bool = False,
    no_validate: bool = False,
) -> None:
    """The options of ``tools/train.py``, set in the config.

    Args:
        cfg (Config): Changed in place.
        resume (str, optional): A checkpoint to resume from, or ``'auto'`` for
            the latest in the work directory.
        amp (bool): Train with automatic mixed precision.
        auto_scale_lr (bool): Scale the learning rate to the batch size.
        no_validate (bool): Leave validation out.

    Raises:
        ConfigError: If the config cannot follow.
    """
    if no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if amp:
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    if auto_scale_lr:
        base = cfg.get('auto_scale_lr', {}).get('base_batch_size')
        if base is None:
            raise ConfigError(
                '--auto-scale-lr needs auto_scale_lr = '
                'dict(base_batch_size=..., enable=False) in the config'
            )
        cfg.auto_scale_lr.enable = True
    if resume is not None:
        if resume != 'auto' and not Path(resume).is_file():
            raise ConfigError(f'--resume: checkpoint {resume!r} not found')
        cfg.resume = True
        cfg.load_from = None if resume == 'auto' else resume


def apply_test_options(
    cfg: Config,
    checkpoint: str,
    out: Sequence[str] = (),
    show: bool = False,
    show_dir: str | None = None,
    wait_time: float = 2,
    tta: bool = False,
) -> None:
    """The options of ``tools/test.py``, set in the config.

    Args:
        cfg (Config): Changed in place.
        checkpoint (str): What to test.
        out (Sequence[str]): Files for results, ``.pkl`` for predictions and
            ``.json`` for metrics (see :func:`dump_metrics`).
        show (bool): Show predictions in a window.
        show_dir (str, optional): Save pictures of predictions there.
        wait_time (float): Seconds between windows.
        tta (bool): Test-time augmentation by the config's ``tta_model`` and
            ``tta_pipeline``.

    Raises:
        ConfigError: If the checkpoint is missing or the config cannot follow.
    """
    if not Path(checkpoint).is_file() and '://' not in checkpoint:
        raise ConfigError(f'checkpoint {checkpoint!r} does not exist')
    cfg.load_from = checkpoint
    for path in out:
        if path.endswith(('.pkl', '.pickle')):
            _dump_predictions(cfg, path)
        elif not path.endswith('.json'):
            raise ConfigError(
                f'--out {path!r} must end with .json (metrics) or .pkl '
                '(predictions)'
            )
    if show or show_dir:
        _draw_predictions(cfg, show, show_dir, wait_time)
    if tta:
        missing = [k for k in ('tta_model', 'tta_pipeline') if k not in cfg]
        if missing:
            raise ConfigError(
                f'--tta needs {" and ".join(missing)} in the config'
            )
        cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)
        dataset = next(_leaf_datasets(cfg.test_dataloader.dataset))
        dataset['pipeline'] = deepcopy(cfg.tta_pipeline)


def dump_metrics(metrics: dict, out: Sequence[str]) -> None:
    """Write what a Runner's ``test()`` returned to the ``.json`` of ``out``.

    Args:
        metrics (dict): Names and values.
        out (Sequence[str]): As given to :func:`apply_test_options`.
    """
    for path in out:
        if path.endswith('.json') and is_main_process():
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            dump(metrics, path, indent=2)


def _dump_predictions(cfg: Config, path: str) -> None:
    # mmdet's own packs masks into run-length codes.
    is_det = cfg.get('default_scope') == 'mmdet'
    evaluators = cfg.test_evaluator
    if not isinstance(evaluators, (list, tuple)):
        evaluators = [evaluators]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    cfg.test_evaluator = [
        *evaluators,
        dict(
            type='DumpDetResults' if is_det else 'DumpResults',
            out_file_path=path,
        ),
    ]


def _draw_predictions(
    cfg: Config, show: bool, show_dir: str | None, wait_time: float
) -> None:
    hook = cfg.get('default_hooks', {}).get('visualization')
    if hook is None:
        raise ConfigError(
            '--show and --show-dir need default_hooks.visualization in the '
            'config'
        )
    hook.update(show=show, wait_time=wait_time)
    # Each toolbox has its own name for the same two things.
    if 'Det' in hook.type:
        hook.update(draw=True, test_out_dir=show_dir)
    elif 'Seg' in hook.type:
        hook.draw = True
        if show_dir:
            cfg.visualizer.save_dir = show_dir
    else:
        hook.update(enable=True, out_dir=show_dir)
