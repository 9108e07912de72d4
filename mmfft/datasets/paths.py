# Copyright (c) mmfft authors. All rights reserved.
"""Where the data sets of a config read from."""

from collections.abc import Iterator
from pathlib import Path

from mmengine.config import Config

from ..errors import ConfigError
from ..openmmlab.config_names import with_our_tools


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
        for dataset in leaf_datasets(loader['dataset']):
            for key, path in data_paths(dataset):
                if '://' in path or Path(path).exists():
                    continue
                hint = cfg.get('data_preparation')
                raise ConfigError(
                    f'{key} of {split}_dataloader does not exist: {path!r}'
                    + (f'; to make it: {with_our_tools(hint)}' if hint else '')
                )


def leaf_datasets(dataset: dict) -> Iterator[dict]:
    """The datasets inside wrappers such as ``ConcatDataset``.

    Args:
        dataset (dict): Of a dataloader.

    Yields:
        dict: Dataset that reads files, itself if there is no wrapper.
    """
    inner = dataset.get('datasets') or dataset.get('dataset')
    if inner is None:
        yield dataset
    else:
        for one in inner if isinstance(inner, (list, tuple)) else [inner]:
            yield from leaf_datasets(one)


def data_paths(dataset: dict) -> Iterator[tuple[str, str]]:
    """Where a dataset reads from.

    Args:
        dataset (dict): One of :func:`leaf_datasets`.

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
            remote = '://' in path
            yield (
                key if key == 'ann_file' else 'data_prefix',
                path if remote else str(Path(root) / path),
            )
