# Copyright (c) mmfft authors. All rights reserved.
"""The paths from which the data sets of a config are read."""

import inspect
import os
from collections.abc import Iterator

from mmengine.config import Config
from mmengine.fileio import exists
from mmengine.registry import DATASETS

from ..errors import ConfigError
from ..openmmlab.config_names import with_our_tools
from ..openmmlab.scopes import class_of, leaf_datasets


def check_data(cfg: Config, *splits: str) -> None:
    """Check that folders and annotation files exist before a run starts.

    The backend from which the data are read is asked. What it cannot tell, as
    over HTTP or from LMDB, and what a data set downloads by itself is left to
    the run.

    Args:
        cfg (Config): Config of mmpretrain, mmdet or mmseg.
        *splits (str): Any of ``'train'``, ``'val'`` and ``'test'``; splits
            that the config does not have are ignored.

    Raises:
        ConfigError: If a path is missing. The message names the first one
            and, if the config has it as ``data_preparation``, the command
            that makes it.
    """
    for split in splits:
        loader = cfg.get(f'{split}_dataloader')
        if not loader:
            continue
        for dataset in leaf_datasets(loader['dataset']):
            if downloads(cfg, dataset):
                continue
            for key, path in missing_paths(dataset):
                hint = cfg.get('data_preparation')
                raise ConfigError(
                    f'{key} of {split}_dataloader does not exist: {path!r}'
                    + (f'; to make it: {with_our_tools(hint)}' if hint else '')
                )


def downloads(cfg: Config, dataset: dict) -> bool:
    """Whether a data set fetches what is missing, as mmpretrain's CIFAR does.

    Args:
        cfg (Config): Config in which the data set stands.
        dataset (dict): Config of a data set, from :func:`leaf_datasets`.
    """
    cls = class_of(DATASETS, dataset, cfg)
    if cls is None:
        return False
    asked = inspect.signature(cls).parameters.get('download')
    return asked is not None and bool(dataset.get('download', asked.default))


def missing_paths(dataset: dict) -> Iterator[tuple[str, str]]:
    """List the paths that do not exist, as far as their backends can tell.

    Args:
        dataset (dict): Config of a data set, from :func:`leaf_datasets`.

    Yields:
        tuple[str, str]: As :func:`data_paths`.
    """
    # Images may be elsewhere than annotations.
    backends = list(_backends(dataset))
    for key, path in data_paths(dataset):
        if not any(may_exist(path, backend) for backend in backends):
            yield key, path


def _backends(dataset: dict) -> Iterator[dict | None]:
    """Arguments of the backends with which a data set reads its files."""
    yield dataset.get('backend_args')
    for step in dataset.get('pipeline') or ():
        for key in ('backend_args', 'file_client_args'):
            if isinstance(step, dict) and step.get(key):
                yield step[key]


def may_exist(path: str, backend_args: dict | None = None) -> bool:
    """Whether a path exists; True if its backend cannot say."""
    if backend_args is None:
        return '://' in path or os.path.exists(path)
    try:
        return exists(path, backend_args=dict(backend_args))
    # The clients of storages raise errors of their own.
    except Exception:
        return True


def data_paths(dataset: dict) -> Iterator[tuple[str, str]]:
    """List the paths from which a dataset reads.

    Args:
        dataset (dict): Config of a dataset, from :func:`leaf_datasets`.

    Yields:
        tuple[str, str]: Key in the config, and path of a file or folder.
    """
    root = dataset.get('data_root') or ''
    if root:
        yield 'data_root', root
    prefix = dataset.get('data_prefix') or {}
    prefixes = prefix if isinstance(prefix, dict) else {'': prefix}
    below = {'ann_file': dataset.get('ann_file'), **prefixes}
    for key, path in below.items():
        if isinstance(path, str) and path:
            yield (
                key if key == 'ann_file' else 'data_prefix',
                # Not as a Path, which would make s3:/ of s3://.
                path if '://' in path else os.path.join(root, path),
            )
