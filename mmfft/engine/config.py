# Copyright (c) mmfft authors. All rights reserved.
"""Read a config and complete it for a run, with the options of a tool."""

import difflib
import os
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

from mmengine.config import Config, ConfigDict
from mmengine.hooks import CheckpointHook
from mmengine.optim import AmpOptimWrapper
from mmengine.registry import (
    HOOKS,
    METRICS,
    OPTIM_WRAPPERS,
    TRANSFORMS,
    VISBACKENDS,
    VISUALIZERS,
)
from mmengine.visualization import TensorboardVisBackend, Visualizer

from ..datasets.own_data import SETTINGS, read_config
from ..errors import ConfigError
from ..mmcv_ops import check_ops
from ..openmmlab.config_names import config_file
from ..openmmlab.scopes import (
    class_name,
    class_of,
    is_subclass,
    leaf_datasets,
    scoped,
    toolbox,
)
from .hooks import (
    BoundHistoryHook,
    CheckLoadHook,
    ExactResumeHook,
    ShowHook,
)
from .models import require_checkpoint
from .resume import NEWEST, NEWEST_ELSE_FILE
from .runner import forget_wrapper, has_gpu

# Settings that mmengine's Runner does not take as None, though a config may
# have them so; None means that the config has no such setting.
_NEVER_NONE = ('env_cfg', 'launcher', 'log_level', 'randomness', 'resume')
# The default hooks of mmengine's Runner.
_MMENGINE_HOOKS = (
    'runtime_info',
    'timer',
    'sampler_seed',
    'logger',
    'param_scheduler',
    'checkpoint',
)
# What each toolbox calls its hook and its visualizer.
_VISUALIZATION = dict(
    mmpretrain=('VisualizationHook', 'UniversalVisualizer'),
    mmdet=('DetVisualizationHook', 'DetLocalVisualizer'),
    mmseg=('SegVisualizationHook', 'SegLocalVisualizer'),
)


def load_config(
    path: str,
    work_dir: str | None = None,
    cfg_options: dict | None = None,
    launcher: str = 'none',
) -> Config:
    """Read a config and complete it as every command line needs it.

    A config that was completed, dumped into a work directory and read again
    is not changed any further.

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
    cfg, taken = read_config(file, cfg_options or {})
    forget_wrapper(cfg)
    if cfg_options:
        _check_followed(cfg, cfg_options, taken)
        cfg.merge_from_dict(cfg_options)
    for key in _NEVER_NONE:
        if key in cfg and cfg[key] is None:
            cfg.pop(key)
    check_ops(toolbox(cfg))
    cfg.launcher = launcher
    cfg.work_dir = work_dir or cfg.get('work_dir') or f'work_dirs/{file.stem}'
    _add_hooks(cfg)
    return cfg


def _check_followed(cfg: Config, options: dict, taken: set[str]) -> None:
    """Refuse to set a line from which other settings have been derived."""
    for name in set(SETTINGS) & cfg.keys() & options.keys() - taken:
        if cfg[name] != options[name]:
            raise ConfigError(
                f'--cfg-options {name}={options[name]}: nothing in '
                f'{cfg.filename!r} would follow, since the data sets have '
                f'their own: set train_dataloader.dataset.{name} and so on'
            )


def _add_hooks(cfg: Config) -> None:
    """Add our hooks to the custom ones, unless the config has them."""
    default = {
        name: _with_scope(hook, cfg)
        for name, hook in (cfg.get('default_hooks') or {}).items()
        # mmengine lets only its own be switched off with None.
        if hook is not None or name in _MMENGINE_HOOKS
    }
    custom = [_with_scope(hook, cfg) for hook in cfg.get('custom_hooks') or ()]
    for ours in (CheckLoadHook, BoundHistoryHook, ExactResumeHook):
        named = [
            hook
            for hook in (*default.values(), *custom)
            if is_subclass(class_of(HOOKS, hook, cfg), ours)
        ]
        if not named:
            custom.append(dict(type=f'mmfft.{ours.__name__}'))
        repeated = set(map(id, named[1:]))
        custom = [hook for hook in custom if id(hook) not in repeated]
    cfg.custom_hooks = custom
    # mmengine's own default if the config has no such hook.
    hook = default.get('checkpoint', dict(type='CheckpointHook', interval=1))
    if hook and class_of(HOOKS, hook, cfg) is CheckpointHook:
        default['checkpoint'] = dict(hook, type='mmfft.AtomicCheckpointHook')
    cfg.default_hooks = default


def _with_scope(hook, cfg: Config):
    """Name a hook of ours in full: toolboxes do not look into our registry."""
    name = hook.get('type') if isinstance(hook, dict) else None
    if isinstance(name, str) and class_of(HOOKS, name, cfg) is None:
        if class_of(HOOKS, f'mmfft.{name}') is not None:
            return dict(hook, type=f'mmfft.{name}')
    return hook


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
    tensorboard: bool = False,
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
        tensorboard (bool): Whether to write the curves for TensorBoard, too.
            Defaults to False.

    Raises:
        ConfigError: If mixed precision is asked for without a GPU, the config
            has no batch size to scale from, ``resume`` does not exist, or
            TensorBoard is not installed.
    """
    if tensorboard:
        _add_tensorboard(cfg)
    if no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    wrapper = cfg.get('optim_wrapper') or {}
    if amp:
        if not wrapper:
            raise ConfigError('--amp needs optim_wrapper in the config')
        if not _is_amp(cfg):
            wrapper.type = 'AmpOptimWrapper'
        wrapper.setdefault('loss_scale', 'dynamic')
    if _is_amp(cfg) and not has_gpu():
        raise ConfigError(
            '--amp: mixed precision needs a GPU, and there is none'
            if amp
            else 'optim_wrapper.type=AmpOptimWrapper: mixed precision needs a '
            'GPU, and there is none; to train without it add --cfg-options '
            'optim_wrapper.type=OptimWrapper'
        )
    if auto_scale_lr:
        base = (cfg.get('auto_scale_lr') or {}).get('base_batch_size')
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


def _add_tensorboard(cfg: Config) -> None:
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f'--tensorboard: {error}: pip install "mmfft[vis]"'
        ) from error
    if toolbox(cfg) in _VISUALIZATION:
        use_toolbox_visualizer(cfg)
    visualizer = cfg.get('visualizer') or dict(type='Visualizer')
    backends = visualizer.get('vis_backends') or [dict(type='LocalVisBackend')]
    if not any(
        is_subclass(class_of(VISBACKENDS, backend, cfg), TensorboardVisBackend)
        for backend in backends
    ):
        own = scoped(cfg, VISBACKENDS, 'TensorboardVisBackend')
        cfg.visualizer = dict(
            visualizer, vis_backends=[*backends, dict(type=own)]
        )


def apply_test_options(
    cfg: Config,
    checkpoint: str | None,
    out: Sequence[str] = (),
    show: bool = False,
    show_dir: str | None = None,
    wait_time: float = 2,
    tta: bool = False,
    allow_missing: bool = False,
    show_num: int | None = None,
) -> None:
    """Set the options of ``tools/test.py`` in a config.

    Args:
        cfg (Config): Config that is changed in place.
        checkpoint (str | None): Path or URL of the checkpoint to test. None
            if the test does not run the config's own model.
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
        show_num (int, optional): Number of images, the first of the test, to
            which ``show`` and ``show_dir`` apply. Defaults to all.

    Raises:
        ConfigError: If the checkpoint is missing, a file of ``out`` has
            another ending, ``show`` is asked for without a display, or the
            config lacks what an option needs.
    """
    if checkpoint is not None:
        require_checkpoint(checkpoint)
    cfg.load_from = checkpoint
    cfg.resume = False  # set in the dumped config of a run with --resume
    for path in out:
        if path.endswith(('.pkl', '.pickle')):
            _dump_predictions(cfg, path)
        elif not path.endswith('.json'):
            raise ConfigError(
                f'--out {path!r} must end with .json (metrics) or .pkl '
                '(predictions)'
            )
    if show or show_dir:
        _draw_predictions(cfg, show, show_dir, show_num, wait_time)
    elif show_num is not None:
        raise ConfigError('--show-num needs --show or --show-dir')
    if tta:
        _augment_tests(cfg)
    if allow_missing:
        for hook in cfg.get('custom_hooks') or []:
            if class_name(hook) == 'CheckLoadHook':
                hook.allow_missing = True


def _is_amp(cfg: Config) -> bool:
    wrapper = cfg.get('optim_wrapper')
    cls = class_of(OPTIM_WRAPPERS, wrapper, cfg) if wrapper else None
    return is_subclass(cls, AmpOptimWrapper)


def _augment_tests(cfg: Config) -> None:
    for key in ('tta_model', 'test_dataloader'):
        if not cfg.get(key):
            raise ConfigError(f'--tta needs {key} in the config')
    model = cfg.model
    if 'module' in model and model.get('type') == cfg.tta_model.get('type'):
        return  # the config of an earlier test
    if (model.get('roi_head') or {}).get('mask_head'):
        raise ConfigError(
            "--tta: mmdet's test-time augmentation merges boxes, not masks; "
            'to test only boxes add --cfg-options '
            'model.roi_head.mask_head=None test_evaluator.metric=bbox'
        )
    cfg.model = ConfigDict(cfg.tta_model, module=model)
    for dataset in leaf_datasets(cfg.test_dataloader.dataset):
        dataset['pipeline'] = deepcopy(
            cfg.get('tta_pipeline') or _with_mirrored(cfg, dataset['pipeline'])
        )


def _with_mirrored(cfg: Config, pipeline: list[dict]) -> list[dict]:
    """Make a test pipeline return an image and its mirror image.

    The scripts of mmpretrain and mmdet do so if there is no ``tta_pipeline``.
    """
    *steps, pack = pipeline
    if 'meta_keys' in pack:
        keys = (*pack['meta_keys'], 'flip', 'flip_direction')
        pack = dict(pack, meta_keys=keys)
    # The image itself comes first: predictions are compared with its labels.
    flip = scoped(cfg, TRANSFORMS, 'RandomFlip')
    flips = [dict(type=flip, prob=p) for p in (0.0, 1.0)]
    return [*steps, dict(type='TestTimeAug', transforms=[flips, [pack]])]


def _dump_predictions(cfg: Config, path: str) -> None:
    # mmdet's own metric packs masks into run-length codes.
    is_det = toolbox(cfg) == 'mmdet'
    name = 'DumpDetResults' if is_det else 'DumpResults'
    dump = dict(type=scoped(cfg, METRICS, name), out_file_path=path)
    evaluators = cfg.get('test_evaluator')
    if not evaluators:
        raise ConfigError('--out *.pkl needs test_evaluator in the config')
    if not isinstance(evaluators, (list, tuple)):
        evaluators = [evaluators]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    cfg.test_evaluator = [*(e for e in evaluators if e != dump), dump]


def _draw_predictions(
    cfg: Config,
    show: bool,
    show_dir: str | None,
    show_num: int | None,
    wait_time: float,
) -> None:
    """Put our hook around the one with which the toolbox draws."""
    hooks = cfg.get('default_hooks') or {}
    hook = hooks.get('visualization')
    scope = toolbox(cfg)
    if is_subclass(hook and class_of(HOOKS, hook, cfg), ShowHook):
        hook = hook.hook  # the config of an earlier test
    if hook is None and scope not in _VISUALIZATION:
        raise ConfigError(
            '--show and --show-dir need default_hooks.visualization in the '
            f'config, or a default_scope among {sorted(_VISUALIZATION)}'
        )
    if show:
        require_display('--show-dir')
    if scope in _VISUALIZATION:
        own_hook, _ = _VISUALIZATION[scope]
        if hook is None:
            hook = dict(type=f'{scope}.{own_hook}')
        use_toolbox_visualizer(cfg)
    hook = dict(
        type='mmfft.ShowHook',
        hook=hook,
        # Absolute, so that no hook joins it to another folder.
        out_dir=show_dir and os.path.abspath(show_dir),
        num=show_num,
        show=show,
        wait_time=wait_time,
    )
    cfg.default_hooks = dict(hooks, visualization=hook)


def use_toolbox_visualizer(cfg: Config) -> None:
    """Let the visualizer of the config's toolbox draw: mmengine's cannot.

    Args:
        cfg (Config): Config of mmpretrain, mmdet or mmseg, changed in place
            if it has no visualizer or mmengine's own.
    """
    scope = toolbox(cfg)
    _, name = _VISUALIZATION[scope]
    visualizer = cfg.get('visualizer') or dict(type=Visualizer)
    if class_of(VISUALIZERS, visualizer, cfg) is Visualizer:
        cfg.visualizer = dict(visualizer, type=f'{scope}.{name}')


def require_display(instead: str) -> None:
    """Check that windows can be opened.

    Args:
        instead (str): Option that writes the pictures to a folder instead.

    Raises:
        ConfigError: If there is no display.
    """
    from matplotlib import pyplot

    # Without a display, matplotlib falls back to a canvas in memory.
    backend = pyplot.get_backend()
    if backend.lower() in ('agg', 'cairo', 'pdf', 'pgf', 'ps', 'svg'):
        raise ConfigError(
            'pictures cannot be shown, since there is no display (matplotlib '
            f'draws with {backend!r}): write them to a folder with {instead}'
        )
