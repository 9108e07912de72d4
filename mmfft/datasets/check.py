# Copyright (c) mmfft authors. All rights reserved.
"""Check all data of a config before a long run."""

import inspect
import io
import math
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from mmengine.config import Config
from mmengine.fileio import exists, get, load
from mmengine.registry import DATASETS, TRANSFORMS, init_default_scope
from PIL import Image, ImageOps
from rich.console import Console
from rich.progress import track
from rich.table import Table

from ..errors import require_whole_number
from ..openmmlab.scopes import choose_by_scope
from .paths import data_paths, leaf_datasets

# mmengine reads these with loaders that execute code in the file.
UNSAFE = ('.pkl', '.pickle', '.yml', '.yaml')
# Boxes are rounded: up to this many pixels outside of the image are allowed.
BORDER = 1.0


class Problem(NamedTuple):
    """Something that would stop a run or spoil it.

    Args:
        kind (str): Kind of problem; problems of a kind are counted together.
        where (str): Path of the file or folder.
        what (str): Details of the problem.
        split (str): ``'train'``, ``'val'``, ``'test'``, or several of them
            that read the same data. Defaults to none.
    """

    kind: str
    where: str
    what: str
    split: str = ''


def check_dataset(cfg: Config, nproc: int = 1) -> tuple[Counter, list]:
    """Read everything that training, validation and test would read.

    Annotations are loaded by the toolbox's own data set class, and checked
    before it filters them. Every image is decoded completely.

    Args:
        cfg (Config): Config of mmpretrain, mmdet or mmseg.
        nproc (int): Number of processes that read. Defaults to 1.

    Returns:
        tuple[Counter, list[Problem]]: Number of images of each split, and the
        problems with them.

    Raises:
        ConfigError: If the config is for another toolbox, or ``nproc`` is not
            positive.
    """
    choose_by_scope(cfg, LOOK)
    require_whole_number('nproc', nproc, 1)
    init_default_scope(cfg.default_scope)
    images, problems = Counter(), []
    for split, dataset in _datasets(cfg).items():
        images[split], found = _check_one(cfg, dataset, split, nproc)
        problems += [problem._replace(split=split) for problem in found]
    for split in ('val', 'test'):
        for evaluator in _as_list(cfg.get(f'{split}_evaluator')):
            path = evaluator.get('ann_file')
            if path and not exists(path):
                what = f'ann_file of {split}_evaluator does not exist'
                problems.append(Problem('missing file', path, what, split))
    return images, problems


def _as_list(value) -> list:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _datasets(cfg: Config) -> dict[str, dict]:
    """Collect each data set once, by the names of the splits that read it."""
    splits = {}
    for split in ('train', 'val', 'test'):
        loader = cfg.get(f'{split}_dataloader')
        for i, dataset in enumerate(
            leaf_datasets(loader['dataset']) if loader else []
        ):
            name = split if i == 0 else f'{split}[{i}]'
            same = {k: v for k, v in dataset.items() if k != 'pipeline'}
            for others, other in splits.items():
                if same == {k: v for k, v in other.items() if k != 'pipeline'}:
                    splits[f'{others}, {name}'] = splits.pop(others)
                    break
            else:
                splits[name] = dataset
    return splits


def _check_one(
    cfg: Config, dataset_cfg: dict, split: str, nproc: int
) -> tuple[int, list[Problem]]:
    problems = [
        Problem('missing file', path, f'{key} of the data set')
        for key, path in data_paths(dataset_cfg)
        if not exists(path)
    ]
    problems += [
        Problem('unsafe annotations', path, 'reading it could run code')
        for path in _annotation_files(dataset_cfg)
        if Path(path).suffix.lower() in UNSAFE
    ]
    if problems:
        return 0, problems
    try:
        dataset, items = _load(dataset_cfg)
    # Any error of a loader is a problem to report.
    except Exception as error:
        paths = dict(data_paths(dataset_cfg))
        where = paths.get('ann_file') or paths.get('data_root', '')
        what = f'{type(error).__name__}: {error}'
        return 0, [Problem('broken annotations', where, what)]
    look = choose_by_scope(cfg, LOOK)
    problems, check, tasks = look(cfg, split, dataset_cfg, dataset, items)
    if not items:
        problems.append(Problem('no image', _folder(dataset), ''))
    outside = set()
    for item in items:
        for path in _outside(dataset, item):
            outside.add(item['img_path'])
            what = 'is outside the folders of the data set and was not read'
            problems.append(Problem('path outside the folder', path, what))
    tasks = [task for task in tasks if _image_of(task) not in outside]
    for found in _in_parallel(check, tasks, split, nproc):
        problems += found
    return len(items), problems


def _annotation_files(dataset_cfg: dict) -> list[str]:
    """Files that a data set class reads by the endings of their names."""
    files = [path for key, path in data_paths(dataset_cfg) if 'file' in key]
    return [*files, *_as_list(dataset_cfg.get('proposal_file'))]


def _outside(dataset, item: dict) -> Iterator[str]:
    """Files of an item that are not below the data set's folders."""
    prefixes = dataset.data_prefix.values()
    folders = [p for p in prefixes if p] or [dataset.data_root]
    # Paths as they are written: links are the user's own choice.
    folders = [os.path.join(os.path.normpath(p), '') for p in folders if p]
    for key in ('img_path', 'seg_map_path'):
        path = item.get(key)
        if path and folders:
            if not os.path.normpath(path).startswith(tuple(folders)):
                yield path


def _image_of(task: dict | tuple) -> str:
    return task['img_path'] if isinstance(task, dict) else task[0]


def _load(dataset_cfg: dict):
    """Build a data set and list its images, before any is filtered out."""
    options = dict(lazy_init=True, pipeline=[])
    with DATASETS.switch_scope_and_registry(None) as registry:
        cls = registry.get(dataset_cfg['type'])
        if 'download' in inspect.signature(cls.__init__).parameters:
            options['download'] = False
        dataset = registry.build({**dataset_cfg, **options})
    return dataset, dataset.load_data_list()


def _folder(dataset) -> str:
    return next(iter(dataset.data_prefix.values()))


def _in_parallel(
    check: Callable, tasks: list, split: str, nproc: int
) -> Iterator[list[Problem]]:
    bar = partial(track, description=split, total=len(tasks))
    if nproc == 1:
        yield from bar(map(check, tasks))
        return
    with ProcessPoolExecutor(nproc) as pool:
        yield from bar(pool.map(check, tasks, chunksize=16))


def _num_classes(model: dict | list | tuple) -> int | None:
    """Number of classes of a model's first head, or None if it has none."""
    is_dict = isinstance(model, dict)
    if is_dict and 'num_classes' in model:
        return model['num_classes']
    for part in model.values() if is_dict else model:
        if isinstance(part, (dict, list, tuple)):
            found = _num_classes(part)
            if found is not None:
                return found
    return None


# ------------------------------------------------------------------- images


def _decode(
    path: str, backend_args: dict | None
) -> tuple[tuple[int, int] | None, list[Problem]]:
    """Find width and height of an image, or why it cannot be read."""
    try:
        data = get(path, backend_args=backend_args)
    except OSError as error:
        return None, [Problem('missing file', path, str(error))]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            with Image.open(io.BytesIO(data)) as image:
                # Completely: OpenCV would fill a truncated image with grey.
                image.load()
                return ImageOps.exif_transpose(image).size, []
    # Decoders raise OSError, SyntaxError, ValueError, struct.error, ...
    except Exception as error:
        what = f'{type(error).__name__}: {error}'
        return None, [Problem('unreadable image', path, what)]


def _check_image(
    task: tuple[str, tuple[int, int] | None], backend_args: dict | None = None
) -> list[Problem]:
    path, expected = task
    size, problems = _decode(path, backend_args)
    if size and expected and size != expected:
        what = f'is {size}, annotated as {expected} (width, height)'
        problems.append(Problem('wrong size', path, what))
    return problems


# -------------------------------------------------------------- the toolboxes
# Each checks the annotations, and returns the problems with them, a function
# that checks an image, and the images.


def _classification(cfg, split, dataset_cfg, dataset, items):
    problems = []
    classes = dataset.metainfo.get('classes')
    limits = (_num_classes(cfg.model), classes and len(classes))
    limit = min((n for n in limits if n), default=math.inf)
    counts = Counter()
    for item in items:
        where = item.get('img_path', _folder(dataset))
        for label in np.atleast_1d(item.get('gt_label', [])).tolist():
            counts[label] += 1
            if not 0 <= label < limit:
                what = f'label {label} of {limit} classes'
                problems.append(Problem('label out of range', where, what))
    # A few images for validation need not show every class.
    if counts and limit < math.inf and 'train' in split:
        for label in set(range(limit)) - set(counts):
            name = classes[label] if classes else label
            what = f'class {name!r} has no image'
            where = _folder(dataset)
            problems.append(Problem('empty class', where, what))
    # Data sets that come as one file have already read their images.
    tasks = [(item['img_path'], None) for item in items if 'img_path' in item]
    return problems, _check_image, tasks


def _detection(cfg, split, dataset_cfg, dataset, items):
    where = dataset.ann_file
    # From the file itself: the class silently drops what it cannot use.
    truth = load(where, backend_args=dataset.backend_args)
    problems = []
    classes = dataset.metainfo['classes']
    num_classes = _num_classes(cfg.model)
    if num_classes not in (None, len(classes)):
        what = f'{len(classes)} classes, the model has {num_classes}'
        problems.append(Problem('label out of range', where, what))
    names = {c['name'] for c in truth['categories']}
    absent = [name for name in classes if name not in names]
    if absent:
        what = f'no category has the name {absent}'
        problems.append(Problem('label out of range', where, what))
    steps = dataset_cfg.get('pipeline', [])
    with_mask = any(step.get('with_mask') for step in steps)
    ids = {c['id'] for c in truth['categories']}
    images = {item['img_id']: item for item in items}
    for box in truth['annotations']:
        image = images.get(box['image_id'])
        what = f'annotation {box["id"]}'
        if image is None:
            what += f' is for image {box["image_id"]}, which does not exist'
            problems.append(Problem('broken annotations', where, what))
            continue
        for kind, why in _check_box(box, image, ids, with_mask):
            problems.append(Problem(kind, image['img_path'], what + why))
    if items and not truth['annotations']:
        problems.append(Problem('empty labels', where, 'no box at all'))
    tasks = [(i['img_path'], (i['width'], i['height'])) for i in items]
    check = partial(_check_image, backend_args=dataset.backend_args)
    return problems, check, tasks


def _check_box(
    box: dict, image: dict, ids: set, with_mask: bool
) -> Iterator[tuple[str, str]]:
    if box['category_id'] not in ids:
        yield 'label out of range', f' has category {box["category_id"]}'
    x, y, w, h = box['bbox']
    width, height = image['width'], image['height']
    what = f' has the box {box["bbox"]} in {width}x{height} pixels'
    if not all(map(math.isfinite, (x, y, w, h))):
        yield 'broken annotations', what
    elif w <= 0 or h <= 0:
        yield 'box without area', what
    elif (
        min(x, y) < -BORDER
        or x + w > width + BORDER
        or y + h > height + BORDER
    ):
        yield 'box outside the image', what
    if with_mask and not box.get('segmentation'):
        yield 'box without mask', ''


def _segmentation(cfg, split, dataset_cfg, dataset, items):
    problems = []
    classes = dataset.metainfo['classes']
    num_classes = _num_classes(cfg.model)
    if num_classes not in (None, len(classes)):
        what = f'{len(classes)} classes, the model has {num_classes}'
        where = _folder(dataset)
        problems.append(Problem('label out of range', where, what))
    step = next(
        step
        for step in dataset_cfg['pipeline']
        if step['type'].rpartition('.')[2] == 'LoadAnnotations'
    )
    check = partial(
        _check_label_image,
        load_labels=TRANSFORMS.build(step),
        num_classes=len(classes),
        ignore=dataset.ignore_index,
        backend_args=dataset.backend_args,
    )
    return problems, check, items


def _check_label_image(
    item: dict,
    load_labels: Callable,
    num_classes: int,
    ignore: int,
    backend_args: dict | None,
) -> list[Problem]:
    size, problems = _decode(item['img_path'], backend_args)
    path = item['seg_map_path']
    label_size, why = _decode(path, backend_args)
    problems += why
    if label_size is None:
        return problems
    # As in training: label 0 ignored, classes renumbered, ...
    labels = load_labels(item)['gt_seg_map']
    if labels.ndim != 2:
        what = f'{labels.shape} instead of one label for each pixel'
        return [*problems, Problem('broken annotations', path, what)]
    if size and size != label_size:
        what = f'is {label_size}, its image {size} (width, height)'
        problems.append(Problem('wrong size', path, what))
    values = set(np.unique(labels).tolist()) - {ignore}
    if not values:
        problems.append(Problem('empty labels', path, 'no pixel has a label'))
    wrong = sorted(value for value in values if value >= num_classes)
    if wrong:
        what = f'labels {wrong} of {num_classes} classes, {ignore} ignored'
        problems.append(Problem('label out of range', path, what))
    return problems


LOOK = dict(mmpretrain=_classification, mmdet=_detection, mmseg=_segmentation)


# ------------------------------------------------------------------- report


def show_problems(
    images: Counter, problems: list[Problem], most: int = 20
) -> None:
    """Print the problems, under headings of their kinds, and the counts.

    Args:
        images (Counter): Number of images of each split, from
            :func:`check_dataset`.
        problems (list[Problem]): Problems from :func:`check_dataset`.
        most (int): Largest number of problems to print of each kind. Defaults
            to 20.
    """
    console = Console(soft_wrap=True, highlight=False, markup=False)
    kinds = Counter(problem.kind for problem in problems)
    for kind, count in kinds.items():
        console.print(f'\n{kind}: {count}')
        these = [problem for problem in problems if problem.kind == kind]
        for _, where, what, split in these[:most]:
            console.print(f'  {split}: {where}: {what}')
        if count > most:
            console.print(f'  ... and {count - most} more')
    table = Table('split', 'images', 'problems')
    by_split = Counter(problem.split for problem in problems)
    for split in dict.fromkeys([*images, *by_split]):
        table.add_row(split, str(images[split]), str(by_split[split]))
    console.print(table)
