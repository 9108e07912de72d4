# Copyright (c) mmfft authors. All rights reserved.
"""Build the Runner of a config, with or without GPUs, and save its metrics."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import is_main_process
from mmengine.fileio import dump
from mmengine.registry import RUNNERS
from mmengine.runner import FlexibleRunner, Runner
from torch import backends, cuda, distributed

from ..collect_env import mmfft_env
from ..errors import ConfigError
from ..openmmlab.scopes import class_name
from .console import BriefRun
from .hooks import AtomicCheckpointHook, ExactResumeHook
from .resume import NEWEST, NEWEST_ELSE_FILE

# PyTorch's own limit, and the one that is put in its place.
_DEFAULT_PLANS, _MAX_PLANS = 4096, 512
# Names of the norm that runs only on GPUs, mmengine's and PyTorch's.
_SYNC_BN = ('SyncBN', 'SyncBatchNorm')


def build_runner(cfg: Config, dump_suffix: str = '') -> Runner:
    """Build the Runner of a config, with or without GPUs.

    mmengine binds each process to its GPU before it connects the processes,
    and therefore cannot launch them on a machine without GPUs. There they are
    connected by this function, over gloo, whatever
    ``env_cfg.dist_cfg.backend`` says.

    The FFT's plans that a GPU keeps are limited to 512, unless a limit was
    set before (``torch.backends.cuda.cufft_plan_cache.max_size``).

    Args:
        cfg (Config): Config from :func:`load_config`.
        dump_suffix (str): Addition to the name under which the config is
            dumped into the work directory. Defaults to none.

    Returns:
        Runner: Runner of the config's ``runner_type``, by default mmengine's
        own, with what ``BriefRun`` adds to it.

    Raises:
        ConfigError: If a launcher other than ``'pytorch'`` is asked for
            without a GPU, or ``runner_type`` is unknown.
    """
    if cfg.launcher != 'none' and not has_gpu():
        if cfg.launcher != 'pytorch':
            raise ConfigError(
                f'--launcher {cfg.launcher!r} needs a GPU for each process; '
                'without GPUs use tools/dist_train.sh or tools/dist_test.sh'
            )
        _connect_without_gpus(cfg)
    _limit_fft_plans()
    cls = _runner_class(cfg.get('runner_type', Runner), dump_suffix)
    runner = _build(cls, cfg)
    report = ''.join(f'\n    {k}: {v}' for k, v in mmfft_env().items())
    runner.logger.info(
        f'mmfft environment:{report}\n', extra=dict(only_in_file=True)
    )
    return runner


def _build(cls: type, cfg: Config) -> Runner | FlexibleRunner:
    own = (NEWEST, NEWEST_ELSE_FILE)
    if not issubclass(cls, FlexibleRunner) or cfg.get('resume') not in own:
        return cls.from_cfg(cfg)
    # It takes a text for a path, and loads before its hooks can decide.
    chosen = dict(resume=cfg.resume, load_from=cfg.get('load_from'))
    cfg.merge_from_dict(dict(resume=False, load_from=None))
    runner = cls.from_cfg(cfg)
    runner._resume, runner._load_from = chosen.values()
    runner.cfg.merge_from_dict(chosen)
    runner.dump_config()
    for hook in runner.hooks:
        if isinstance(hook, (AtomicCheckpointHook, ExactResumeHook)):
            hook.before_run(runner)
    return runner


def _runner_class(runner_type: str | type, dump_suffix: str) -> type:
    base = runner_type
    if isinstance(base, str):
        base = RUNNERS.get(base)
    if base is None:
        raise ConfigError(f'runner_type={runner_type!r} is not registered')
    added = dict(dump_suffix=dump_suffix)
    return type(base.__name__, (BriefRun, base), added)


def has_gpu() -> bool:
    """Whether mmengine's launchers and mixed precision work here."""
    return get_device() in ('cuda', 'npu', 'mlu', 'musa')


def _limit_fft_plans() -> None:
    """Keep the FFT's plans from filling the memory of GPUs.

    cuFFT has one for each size of an image and of a batch, in each stage and
    direction: 8 for a DFFormer. PyTorch keeps 4,096, which was reported to
    take 2.2 GB outside its own allocator (pytorch/pytorch#94893). The recipes
    for COCO at many scales fill that: three epochs of batches of two were
    simulated with the usual sizes of its images, and met 561 sizes. 0.39 of
    the steps found their plans among the last 512, 0.97 among 4,096 and 0.06
    among 64. Training at one size needs those of one or two batches.
    """
    for device in range(cuda.device_count()):
        cache = backends.cuda.cufft_plan_cache[device]
        if cache.max_size == _DEFAULT_PLANS:
            cache.max_size = _MAX_PLANS


def _connect_without_gpus(cfg: Config) -> None:
    dist_cfg = (cfg.get('env_cfg') or {}).get('dist_cfg') or {}
    timeout = dist_cfg.get('timeout')
    distributed.init_process_group(
        'gloo', timeout=timeout and timedelta(seconds=timeout)
    )
    if cfg.get('model_wrapper_cfg') is None:
        cfg.model_wrapper_cfg = _wrapper_without_gpus(cfg)
    changed = _without_sync_bn(cfg.get('model') or {})
    if changed and is_main_process():
        print(
            f'No GPU: {changed} SyncBN of the model, which runs only on GPUs, '
            'become BN. Each process normalizes by the statistics of its own '
            'batch.',
            flush=True,
        )


def _wrapper_without_gpus(cfg: Config) -> dict:
    # mmengine's own, without the GPU of the process.
    return dict(
        type='MMDistributedDataParallel',
        device_ids=None,
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )


def forget_wrapper(cfg: Config) -> None:
    """Take back the ``model_wrapper_cfg`` that :func:`build_runner` adds.

    It is in a config that a run without GPUs has dumped, and another run may
    have GPUs or set ``find_unused_parameters``.

    Args:
        cfg (Config): Config as read from a file, changed in place.
    """
    if cfg.get('model_wrapper_cfg') == _wrapper_without_gpus(cfg):
        cfg.pop('model_wrapper_cfg')


def _without_sync_bn(cfg: dict | list | tuple) -> int:
    """Replace SyncBN with BN; return the number of replacements."""
    changed = 0
    for value in cfg.values() if isinstance(cfg, dict) else cfg:
        if isinstance(value, dict) and class_name(value) in _SYNC_BN:
            value['type'] = 'BN'
            changed += 1
        elif isinstance(value, (dict, list, tuple)):
            changed += _without_sync_bn(value)
    return changed


def dump_metrics(metrics: dict, out: Sequence[str]) -> None:
    """Write the metrics of a test to the ``.json`` files of ``out``.

    Args:
        metrics (dict): Metrics by name, from a Runner's ``test()``.
        out (Sequence[str]): Paths as given to :func:`apply_test_options`.
    """
    for path in out:
        if path.endswith('.json') and is_main_process():
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            dump(metrics, path, indent=2)
