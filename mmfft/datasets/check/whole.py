# Copyright (c) mmfft authors. All rights reserved.
"""The whole check of a config's data."""

import os
from collections import Counter
from collections.abc import Iterator

from mmengine.config import Config

from ...errors import require_whole_number
from ...openmmlab.scopes import choose_by_scope, enter_scope, toolbox
from . import classes, segmentation
from .images import check_images
from .parts import Part, find_datasets
from .problems import Overview, Problem
from .survey import TOOLBOXES, compare, name_split, survey


def check_dataset(cfg: Config, nproc: int = 1) -> tuple[Counter, list]:
    """Read everything that training, validation and test would read.

    Annotations are loaded by the toolbox's own data set class, and checked
    before it filters them. Every image is decoded completely, by the loading
    step of its pipeline.

    Args:
        cfg (Config): Config of mmpretrain, mmdet or mmseg.
        nproc (int): Number of processes that read. Defaults to 1.

    Returns:
        tuple[Counter, list[Problem]]: Number of images of each split, and the
        problems with them. The counter is an :class:`Overview`, which also
        has counts of classes, and notes of what may well be intended.

    Raises:
        ConfigError: If the config is for another toolbox, or ``nproc`` is not
            positive.
    """
    if toolbox(cfg) is not None:
        choose_by_scope(cfg, dict.fromkeys(TOOLBOXES))
    require_whole_number('nproc', nproc, 1)
    enter_scope(cfg)
    images, found = Overview(), []
    parts = []
    datasets = find_datasets(cfg, ('train', 'val', 'test'))
    for split, dataset_cfg in datasets.items():
        part, problems = survey(cfg, split, dataset_cfg)
        images[split] = 0
        if part is not None:
            parts.append(part)
            images[split], images.used[split] = len(part.items), part.used
            problems += _read_images(part, problems, nproc)
            part.items = []
        found += name_split(problems, split, datasets)
    found += compare(cfg, parts, ('val', 'test'))
    images.classes = {
        part.split: classes.by_name(part) for part in parts if part.counts
    }
    images.unit = parts[0].unit if parts else 'image'
    images.notes = [problem for problem in found if problem.level == 'note']
    return images, [problem for problem in found if problem.level != 'note']


def _read_images(
    part: Part, problems: list[Problem], nproc: int
) -> Iterator[Problem]:
    kinds = {problem.kind for problem in problems}
    if 'no image' in kinds:
        return
    if 'no label image' in kinds:
        part.unit = 'image'
    outside = set()
    for item in part.items:
        for path in _outside(part.dataset, item):
            outside.add(item['img_path'])
            what = 'is outside the folders of the data set and was not read'
            fix = 'let data_root or data_prefix name the folder that has it'
            yield Problem('path outside the folder', path, what, '', fix)
    items = [i for i in part.items if i.get('img_path') not in outside]
    try:
        found, values = check_images(part, items, nproc)
    # The pipeline cannot be built: training would say the same.
    except Exception as error:
        what = f'the images: {type(error).__name__}: {error}'
        yield Problem('not checked', part.folder, what)
        return
    yield from found
    if part.unit == 'pixel' and values:
        yield from segmentation.judge(part, values, len(items))


def _outside(dataset, item: dict) -> Iterator[str]:
    """Files of an item that are not below the data set's folders."""
    prefixes = (getattr(dataset, 'data_prefix', None) or {}).values()
    folders = [p for p in prefixes if p] or [dataset.data_root]
    folders = [p for p in folders if p]
    for key in ('img_path', 'seg_map_path'):
        path = item.get(key)
        if isinstance(path, str) and folders:
            if not any(_is_below(path, folder) for folder in folders):
                yield path


def _is_below(path: str, folder: str) -> bool:
    # Paths as they are written: links are the user's own choice.
    first, _, _ = os.path.relpath(path, folder).partition(os.sep)
    return first != os.pardir
