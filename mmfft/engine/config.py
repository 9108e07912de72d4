# Copyright (c) mmfft authors. All rights reserved.
"""Read a config and complete it for a run, with the options of a tool."""

import difflib
import os
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

from mmengine.config import Config, ConfigDict
from mmengine.hooks import CheckpointHook

from ..datasets.paths import leaf_datasets
from ..errors import ConfigError
from ..mmcv_ops import check_ops
from ..openmmlab.config_names import config_file
from .hooks import CheckLoadHook
from .models import require_checkpoint
from .resume import NEWEST, NEWEST_ELSE_FILE
from .runner import has_gpu


def load_config(
    path: str,
    work_dir: str | None = None,
    cfg_options: dict | None = None,
    launcher: str = 'none',
) -> Config:
    """Read a config and complete it as every command line needs it.

    Args:
        path (str): Path of a config, or ``'mmfft::'`` and the name of one of
            ours.
        work_dir (str, optional): Folder for logs and checkpoints. Defaults to
            the config's own, or ``work_dirs/<name of the config>``.
        cfg_options (dict, optional): Settings to override, as parsed from
            ``--cfg-options``. Defaults to none.
        launcher (str): What launched the processes: ``'none'``,
            ``'pytorch'``, ``'slurm'`` or ``'mpi'``. Defaults to ``'none'``.

    Returns:
        Config: Config that is ready for a Runner.

    Raises:
        ConfigError: If the file does not exist, the launcher did not launch
            this process, or mmcv lacks the ops that the toolbox needs.
    """
    file = config_file(path)
    if not file.is_file():
        raise ConfigError(f'config {path!r} does not exist{_close_to(file)}')
    if launcher == 'pytorch' and 'RANK' not in os.environ:
        raise ConfigError(
            "--launcher 'pytorch' is for processes that torchrun starts: use "
            'tools/dist_train.sh or tools/dist_test.sh'
        )
    cfg = Config.fromfile(file)
    if cfg_options:
        cfg.merge_from_dict(cfg_options)
    check_ops(cfg.get('default_scope'))
    cfg.launcher = launcher
    cfg.work_dir = work_dir or cfg.get('work_dir') or f'work_dirs/{file.stem}'
    cfg.custom_hooks = [
        *cfg.get('custom_hooks', []),
        dict(type='mmfft.CheckLoadHook'),
        dict(type='mmfft.ExactResumeHook'),
    ]
    _save_atomically(cfg)
    return cfg


def _save_atomically(cfg: Config) -> None:
    # mmengine's own default if the config has no such hook.
    hook = cfg.get('default_hooks', {}).get(
        'checkpoint', dict(type='CheckpointHook', interval=1)
    )
    if hook and hook.get('type') in ('CheckpointHook', CheckpointHook):
        ours = dict(hook, type='mmfft.AtomicCheckpointHook')
        cfg.merge_from_dict({'default_hooks.checkpoint': ours})


def _close_to(file: Path) -> str:
    folders = [p for p in file.parents if p.is_dir() and p != Path('.')]
    names = {p.name: p for d in folders[:1] for p in sorted(d.rglob('*.py'))}
    close = difflib.get_close_matches(file.name, names, n=3, cutoff=0.4)
    if not close:
        return ''
    return '; similar names: ' + ', '.join(str(names[name]) for name in close)


def apply_train_options(
    cfg: Config,
    resume: str | None = None,
    amp: bool = False,
    auto_scale_lr: bool = False,
    no_validate: bool = False,
) -> None:
    """Set the options of ``tools/train.py`` in a config.

    Args:
        cfg (Config): Config that is changed in place.
        resume (str, optional): Checkpoint to resume from, or ``'auto'`` for
            the latest one in the work directory; if there is none, the
            config's own ``load_from`` and ``resume`` hold. Defaults to none.
        amp (bool): Whether to train with automatic mixed precision. Defaults
            to False.
        auto_scale_lr (bool): Whether to scale the learning rate to the batch
            size. Defaults to False.
        no_validate (bool): Whether to omit validation. Defaults to False.

    Raises:
        ConfigError: If mixed precision is asked for without a GPU, the config
            has no batch size to scale from, or ``resume`` does not exist.
    """
    if no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if amp:
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    wrapper = cfg.get('optim_wrapper', {}).get('type')
    if wrapper == 'AmpOptimWrapper' and not has_gpu():
        raise ConfigError(
            '--amp: mixed precision needs a GPU, and there is none'
            if amp
            else 'optim_wrapper.type=AmpOptimWrapper: mixed precision needs a '
            'GPU, and there is none; to train without it add --cfg-options '
            'optim_wrapper.type=OptimWrapper'
        )
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
        if resume != 'auto':
            cfg.resume, cfg.load_from = True, resume
        elif cfg.get('resume') is True and cfg.get('load_from'):
            cfg.resume = NEWEST_ELSE_FILE
        elif not cfg.get('resume'):
            cfg.resume = NEWEST
            cfg.setdefault('load_from', None)


def apply_test_options(
    cfg: Config,
    checkpoint: str,
    out: Sequence[str] = (),
    show: bool = False,
    show_dir: str | None = None,
    wait_time: float = 2,
    tta: bool = False,
    allow_missing: bool = False,
) -> None:
    """Set the options of ``tools/test.py`` in a config.

    Args:
        cfg (Config): Config that is changed in place.
        checkpoint (str): Path or URL of the checkpoint to test.
        out (Sequence[str]): Paths of files for results, ``.pkl`` for
            predictions and ``.json`` for metrics (see :func:`dump_metrics`).
            Defaults to none.
        show (bool): Whether to show predictions in a window. Defaults to
            False.
        show_dir (str, optional): Folder for pictures of predictions. Defaults
            to none.
        wait_time (float): Seconds between windows. Defaults to 2.
        tta (bool): Whether to use test-time augmentation, by the config's
            ``tta_model`` and ``tta_pipeline``, or with mirrored images if it
            has no ``tta_pipeline``. Defaults to False.
        allow_missing (bool): Whether to test with a warning although the
            checkpoint lacks tensors of the model, which keep random numbers.
            Defaults to False.

    Raises:
        ConfigError: If the checkpoint is missing, a file of ``out`` has
            another ending, or the config lacks what an option needs.
    """
    require_checkpoint(checkpoint)
    cfg.load_from = checkpoint
    # That of a config which train.py has dumped.
    cfg.resume = False
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
        _augment_tests(cfg)
    if allow_missing:
        for hook in cfg.get('custom_hooks') or []:
            if hook.type in ('mmfft.CheckLoadHook', CheckLoadHook):
                hook.allow_missing = True


def _augment_tests(cfg: Config) -> None:
    if 'tta_model' not in cfg:
        raise ConfigError('--tta needs tta_model in the config')
    if (cfg.model.get('roi_head') or {}).get('mask_head'):
        raise ConfigError(
            "--tta: mmdet's test-time augmentation merges boxes, not masks; "
            'to test only boxes add --cfg-options '
            'model.roi_head.mask_head=None test_evaluator.metric=bbox'
        )
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)
    for dataset in leaf_datasets(cfg.test_dataloader.dataset):
        dataset['pipeline'] = deepcopy(
            cfg.get('tta_pipeline') or _with_mirrored(dataset['pipeline'])
        )


def _with_mirrored(pipeline: list[dict]) -> list[dict]:
    """Make a test pipeline return an image and its mirror image.

    The scripts of mmpretrain and mmdet do so if there is no ``tta_pipeline``.
    """
    *steps, pack = pipeline
    if 'meta_keys' in pack:
        keys = (*pack['meta_keys'], 'flip', 'flip_direction')
        pack = dict(pack, meta_keys=keys)
    # The image itself comes first: predictions are compared with its labels.
    flips = [dict(type='RandomFlip', prob=p) for p in (0.0, 1.0)]
    return [*steps, dict(type='TestTimeAug', transforms=[flips, [pack]])]


def _dump_predictions(cfg: Config, path: str) -> None:
    # mmdet's own metric packs masks into run-length codes.
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
