# Copyright (c) mmfft authors. All rights reserved.
"""The data sets of a config, as their own classes read them."""

import contextlib
import inspect
import io
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.fileio import list_from_file
from mmengine.registry import DATASETS

from ...openmmlab.scopes import class_name, class_of, leaf_datasets
from ..paths import data_paths, missing_paths
from . import coco
from .folders import common_ending, describe
from .problems import Problem

# mmengine reads these with loaders that execute code in the file.
UNSAFE = ('.pkl', '.pickle', '.yml', '.yaml')


@dataclass
class Part:
    """A data set that a split reads, and what is known of its labels.

    Attributes:
        split (str): Name of the split, or of several.
        cfg (dict): Config of the data set.
        dataset (BaseDataset): The data set, not initialized.
        items (list[dict]): Its images, before any is filtered out.
        used (int): Number of images that the run uses.
        truth (dict, optional): Content of its COCO file.
        image_ids (set): Ids by which a COCO metric knows the images in use.
        counts (Counter): Number of samples by label.
        names (list[str], optional): Name of each label.
        by_name (bool): Whether names decide which label a sample gets.
        unit (str): What is counted: images, boxes or pixels.
    """

    split: str
    cfg: dict
    dataset: BaseDataset
    items: list[dict]
    used: int
    truth: dict | None = None
    image_ids: set = field(default_factory=set)
    counts: Counter = field(default_factory=Counter)
    names: list[str] | None = None
    by_name: bool = False
    unit: str = 'image'

    @property
    def classes(self) -> Sequence | None:
        """Names of the classes that the data set tells the model's metric."""
        return self.dataset.metainfo.get('classes')

    @property
    def classes_given(self) -> bool:
        """Whether the config names the classes."""
        return bool(
            'classes' in (self.cfg.get('metainfo') or {})
            or self.cfg.get('classes')
        )

    @property
    def where(self) -> str:
        """Annotation file, or the folder of the images."""
        return getattr(self.dataset, 'ann_file', '') or self.folder

    @property
    def folder(self) -> str:
        """Folder of the images."""
        prefixes = getattr(self.dataset, 'data_prefix', None) or {}
        found = next((p for p in prefixes.values() if p), '')
        return found or getattr(self.dataset, 'data_root', '') or ''

    @property
    def files_on_this_disk(self) -> bool:
        """Whether its images are files that can be looked for."""
        steps = [
            step
            for step in self.cfg.get('pipeline') or []
            if class_name(step) in ('LoadImageFromFile', 'LoadAnnotations')
        ]
        # Other loaders may read from an archive.
        return (
            is_on_this_disk(self.cfg)
            and any('Image' in class_name(step) for step in steps)
            and all(
                _is_local(step.get('backend_args'))
                and not step.get('file_client_args')
                for step in steps
            )
        )

    def is_in(self, loader: str) -> bool:
        """Whether it belongs to a loader such as ``'train'``."""
        return loader in self.split.replace('[', ', ').split(', ')


def find_datasets(cfg: Config, loaders: Sequence[str]) -> dict[str, dict]:
    """Collect each data set once, by the names of the splits that read it.

    Args:
        cfg (Config): Config of a toolbox.
        loaders (Sequence[str]): Any of ``'train'``, ``'val'`` and ``'test'``.

    Returns:
        dict[str, dict]: Configs of data sets.
    """
    splits: dict[str, dict] = {}
    for split in loaders:
        loader = cfg.get(f'{split}_dataloader') or {}
        dataset = loader.get('dataset')
        for i, leaf in enumerate(leaf_datasets(dataset) if dataset else []):
            name = split if i == 0 else f'{split}[{i}]'
            same = {k: v for k, v in leaf.items() if k != 'pipeline'}
            for others, other in splits.items():
                if same == {k: v for k, v in other.items() if k != 'pipeline'}:
                    splits[f'{others}, {name}'] = splits.pop(others)
                    break
            else:
                splits[name] = leaf
    return splits


def is_on_this_disk(dataset_cfg: dict) -> bool:
    """Whether a data set reads its files without a backend."""
    return _is_local(dataset_cfg.get('backend_args')) and not any(
        '://' in path for _, path in data_paths(dataset_cfg)
    )


def _is_local(backend_args: dict | None) -> bool:
    backend = backend_args or {}
    return set(backend) <= {'backend'} and (
        backend.get('backend', 'local') in ('local', 'disk')
    )


def read(split: str, dataset_cfg: dict) -> tuple[Part | None, list[Problem]]:
    """List what a data set has, before any of it is filtered out.

    Args:
        split (str): Names of the splits that read it.
        dataset_cfg (dict): Config of the data set.

    Returns:
        tuple[Part | None, list[Problem]]: The data set, None if it cannot be
        read, and the problems with that.
    """
    problems = [*_missing_paths(dataset_cfg), *_unsafe_files(dataset_cfg)]
    if problems:
        return None, problems
    paths = dict(data_paths(dataset_cfg))
    where = paths.get('ann_file') or paths.get('data_root', '')
    try:
        dataset = _build(dataset_cfg)
    # Any error of a class is a problem to report.
    except Exception as error:
        return None, [_broken(where, error)]
    if not isinstance(dataset, BaseDataset):
        name = class_name(type(dataset))
        what = f'{name} is no BaseDataset of mmengine: nothing is checked'
        return None, [Problem('not checked', where, what, level='note')]
    truth = None
    try:
        if coco.reads_coco(dataset):
            try:
                truth = coco.read_file(dataset.ann_file, dataset.backend_args)
            except ValueError as error:
                problem = _broken(dataset.ann_file, error)
                return None, [problem._replace(level='fatal')]
            found = coco.check_structure(
                truth, dataset.ann_file, dataset.metainfo.get('classes', ())
            )
            if any(problem.level == 'fatal' for problem in found):
                return None, found
            problems += found
            coco.give_truth(dataset, truth)
        # pycocotools prints what it does.
        with contextlib.redirect_stdout(io.StringIO()):
            items = dataset.load_data_list()
    except Exception as error:
        folder = next(iter(dataset.data_prefix.values()), '')
        return None, [_explain(dataset, folder, where, error)]
    part = Part(split, dataset_cfg, dataset, items, len(items), truth)
    return part, [*problems, *_select(part)]


def _missing_paths(dataset_cfg: dict) -> Iterator[Problem]:
    for key, path in missing_paths(dataset_cfg):
        what = f'{key} of the data set does not exist'
        parent = os.path.dirname(os.path.normpath(path))
        if is_on_this_disk(dataset_cfg) and os.path.isdir(parent):
            what += f'; {describe(parent)}'
        fix = f'correct {key}'
        yield Problem('missing file', path, what, '', fix, 'fatal')


def _unsafe_files(dataset_cfg: dict) -> Iterator[Problem]:
    """Files that a data set class reads by the endings of their names."""
    files = [path for key, path in data_paths(dataset_cfg) if 'file' in key]
    more = dataset_cfg.get('proposal_file')
    for path in [*files, *([more] if isinstance(more, str) else [])]:
        if Path(path).suffix.lower() in UNSAFE:
            what = 'reading it could run code'
            yield Problem('unsafe annotations', path, what)


def _build(dataset_cfg: dict):
    cls = class_of(DATASETS, dataset_cfg)
    wanted = dict(lazy_init=True, pipeline=[], download=False)
    options = {k: v for k, v in wanted.items() if cls and _takes(cls, k)}
    with DATASETS.switch_scope_and_registry(None) as registry:
        return registry.build({**dataset_cfg, **options})


def _takes(cls: type, argument: str) -> bool:
    """Whether a class takes an argument, perhaps for one of its bases."""
    for base in cls.__mro__:
        if '__init__' not in vars(base):
            continue
        parameters = inspect.signature(base.__init__).parameters
        if argument in parameters:
            return True
        if all(p.kind != p.VAR_KEYWORD for p in parameters.values()):
            return False
    return False


def _broken(where: str, error: Exception) -> Problem:
    what = f'{type(error).__name__}: {error}'
    return Problem('broken annotations', where, what)


def _explain(dataset, folder: str, where: str, error: Exception) -> Problem:
    """Say more of an error of mmpretrain's classes that list folders."""
    extensions = getattr(dataset, 'extensions', None)
    if extensions and str(error).startswith('Found 0 files'):
        return no_image(dataset, folder)
    if extensions and 'The number of subfolders' in str(error):
        found = sorted(e.name for e in os.scandir(folder) if e.is_dir())
        classes = list(dataset.metainfo['classes'])
        return Problem(
            'other classes',
            folder,
            f'{len(found)} folders for {len(classes)} classes: '
            f'folders {_some(found)}, classes {_some(classes)}',
            fix='make one folder for each class, an empty one for a class '
            'that this split does not have',
            level='fatal',
        )
    if extensions and dataset.ann_file and getattr(dataset, 'with_label', 0):
        for number, line in enumerate(list_from_file(dataset.ann_file), 1):
            if not line.strip().rpartition(' ')[2].lstrip('-').isdigit():
                what = f'line {number} is {line!r}'
                fix = 'write "file label" into each line, with one blank'
                return Problem(
                    'broken annotations', where, what, '', fix, 'fatal'
                )
    return _broken(where, error)


def _some(names: list) -> str:
    more = ', ...' if len(names) > 12 else ''
    return ', '.join(map(str, names[:12])) + more


def no_image(dataset, folder: str) -> Problem:
    """Say where no image was found, and what is there instead.

    Args:
        dataset (BaseDataset): Data set that found none.
        folder (str): Folder of its images.

    Returns:
        Problem: With the arguments that would find what is there.
    """
    what, fix = 'no image', ''
    suffix = getattr(dataset, 'img_suffix', None)
    extensions = getattr(dataset, 'extensions', None)
    if os.path.isdir(folder):
        ending = common_ending(folder)
        if suffix is not None:
            what = f'no file ends with img_suffix={suffix!r}'
            fix = f'write img_suffix={ending!r}' if ending else ''
        elif extensions:
            what = f'no image of {", ".join(sorted(extensions))}'
            if getattr(dataset, 'with_label', True):
                what += ' in a folder for each class'
                fix = (
                    'sort the images into a folder for each class, write '
                    'ann_file with lines "file label", or with_label=False '
                    'for a test'
                )
            if ending and ending.lower() not in extensions:
                fix = f'write extensions=({ending!r},)'
    elif getattr(dataset, 'ann_file', ''):
        what = 'the annotation file lists no image'
    what = f'{what}; {describe(folder)}' if folder else what
    return Problem('no image', folder, what, '', fix, 'fatal')


def _select(part: Part) -> Iterator[Problem]:
    """Apply the data set's own filter and its indices."""
    dataset, items = part.dataset, part.items
    if not items:
        return
    dataset.data_list = items
    kept = dataset.filter_data()
    if len(kept) < len(items):
        left_out = len(items) - len(kept)
        what = (
            f'filter_cfg={dict(dataset.filter_cfg or {})} leaves out '
            f'{left_out} of {len(items)} images'
        )
        if kept:
            yield Problem('images left out', part.where, what, level='note')
        else:
            fix = 'see the other findings for the reason, or loosen filter_cfg'
            yield Problem('no image left', part.where, what, '', fix, 'fatal')
    if dataset._indices is not None:
        dataset.data_list = kept
        kept = part.items = dataset._get_unserialized_subset(dataset._indices)
    part.used = len(kept)
    part.image_ids = {item['img_id'] for item in kept if 'img_id' in item}
    dataset.data_list = []
