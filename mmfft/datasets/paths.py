# Copyright (c) mmfft authors. All rights reserved.
"""The paths from which the data sets of a config are read."""

from collections.abc import Iterator
from pathlib import Path

from mmengine.config import Config

from ..errors import ConfigError
from ..openmmlab.config_names import with_our_tools


def check_data(cfg: Config, *splits: str) -> None:
    """Check that folders and annotation files exist before a run starts.

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
            for key, path in data_paths(dataset):
                if '://' in path or Path(path).exists():
                    continue
                hint = cfg.get('data_preparation')
                raise ConfigError(
                    f'{key} of {split}_dataloader does not exist: {path!r}'
                    + (f'; to make it: {with_our_tools(hint)}' if hint else '')
                )


def leaf_datasets(dataset: dict) -> Iterator[dict]:
    """Find the datasets inside wrappers such as ``ConcatDataset``.

    Args:
        dataset (dict): Config of the dataset of a dataloader.

    Yields:
        dict: Config of a dataset that reads files; the one that was given if
        it is not a wrapper.
    """
    inner = dataset.get('datasets') or dataset.get('dataset')
    if inner is None:
        yield dataset
    else:
        for one in inner if isinstance(inner, (list, tuple)) else [inner]:
            yield from leaf_datasets(one)


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
            remote = '://' in path
            yield (
                key if key == 'ann_file' else 'data_prefix',
                path if remote else str(Path(root) / path),
            )
