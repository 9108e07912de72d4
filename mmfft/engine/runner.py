# Copyright (c) mmfft authors. All rights reserved.
"""The Runner of a config, with GPUs or without, and what it returns."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import is_main_process
from mmengine.fileio import dump
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from torch import distributed

from ..collect_env import mmfft_env
from ..errors import ConfigError


def build_runner(cfg: Config) -> Runner:
    """Build the Runner of a config, with GPUs or without.

    mmengine binds a process to its GPU before it connects the processes, and
    so cannot launch any on a machine without one. There they are connected
    here, over gloo, whatever ``env_cfg.dist_cfg.backend`` says.

    Args:
        cfg (Config): As of :func:`load_config`.

    Returns:
        Runner: Of ``runner_type``, mmengine's own by default.

    Raises:
        ConfigError: If another launcher than ``'pytorch'`` is asked to
            launch processes without a GPU.
    """
    if cfg.launcher != 'none' and not has_gpu():
        if cfg.launcher != 'pytorch':
            raise ConfigError(
                f'--launcher {cfg.launcher!r} needs a GPU for each process; '
                'without GPUs use tools/dist_train.sh or tools/dist_test.sh'
            )
        _connect_without_gpus(cfg)
    if 'runner_type' in cfg:
        runner = RUNNERS.build(cfg)
    else:
        runner = Runner.from_cfg(cfg)
    report = ''.join(f'\n    {k}: {v}' for k, v in mmfft_env().items())
    runner.logger.info(f'mmfft environment:{report}\n')
    return runner


def has_gpu() -> bool:
    """Whether mmengine can launch processes and mixed precision here."""
    return get_device() in ('cuda', 'npu', 'mlu', 'musa')


def _connect_without_gpus(cfg: Config) -> None:
    timeout = cfg.get('env_cfg', {}).get('dist_cfg', {}).get('timeout')
    distributed.init_process_group(
        'gloo', timeout=timeout and timedelta(seconds=timeout)
    )
    # mmengine's own, less the GPU of the process.
    cfg.setdefault(
        'model_wrapper_cfg',
        dict(
            type='MMDistributedDataParallel',
            device_ids=None,
            broadcast_buffers=False,
            find_unused_parameters=cfg.get('find_unused_parameters', False),
        ),
    )
    changed = _without_sync_bn(cfg.get('model', {}))
    if changed and is_main_process():
        print(
            f'No GPU: {changed} SyncBN of the model, which runs on GPUs only, '
            'become BN. Each process normalizes by the statistics of its own '
            'batch.',
            flush=True,
        )


def _without_sync_bn(cfg: dict | list | tuple) -> int:
    """Set BN for SyncBN; returns how many there were."""
    changed = 0
    for value in cfg.values() if isinstance(cfg, dict) else cfg:
        if isinstance(value, dict) and value.get('type') == 'SyncBN':
            value['type'] = 'BN'
            changed += 1
        elif isinstance(value, (dict, list, tuple)):
            changed += _without_sync_bn(value)
    return changed


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
