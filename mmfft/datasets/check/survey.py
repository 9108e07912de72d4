# Copyright (c) mmfft authors. All rights reserved.
"""What is checked of a data set without its images, and of all together."""

import os
from collections.abc import Iterable, Iterator, Sequence

from mmengine.config import Config

from ...openmmlab.scopes import class_name
from ..paths import may_exist
from . import classes, classification, coco, detection, segmentation
from .folders import describe, not_there
from .metric import check_coco_metric
from .parts import Part, no_image, read
from .problems import Problem

TOOLBOXES = ('mmpretrain', 'mmdet', 'mmseg', 'mmengine')


def survey(
    cfg: Config, split: str, dataset_cfg: dict
) -> tuple[Part | None, list[Problem]]:
    """Read a data set and check its labels, without its images.

    Args:
        cfg (Config): Config of a toolbox.
        split (str): Names of the splits that read the data set.
        dataset_cfg (dict): Config of the data set.

    Returns:
        tuple[Part | None, list[Problem]]: The data set, None if it cannot be
        read, and the problems without the name of the split.
    """
    part, problems = read(split, dataset_cfg)
    if part is None:
        return None, problems
    if not part.items:
        if not any(problem.level == 'fatal' for problem in problems):
            problems.append(no_image(part.dataset, part.folder))
        return part, problems
    try:
        problems += _look_at_labels(part, _num_classes(cfg.get('model') or {}))
    # Of a class that is not the toolbox's own, anything may be different.
    except Exception as error:
        name = class_name(type(part.dataset))
        what = f'the labels of {name}: {type(error).__name__}: {error}'
        problems.append(Problem('not checked', part.where, what, level='note'))
    problems += _check_whole_folders(part)
    if not part.is_in('val') and not part.is_in('test'):
        part.truth = None
    return part, problems


def _look_at_labels(part: Part, num_classes: int | None) -> list[Problem]:
    first = part.items[0]
    if isinstance(first.get('instances'), list):
        return [*detection.look(part, num_classes)]
    if 'gt_label' in first:
        return [*classification.look(part, num_classes)]
    if first.get('seg_map_path'):
        return [*segmentation.look(part, num_classes)]
    name = class_name(type(part.dataset))
    what = f'{name} has no labels that this check knows; only images are read'
    return [Problem('not checked', part.where, what, level='note')]


def _num_classes(model: dict) -> int | None:
    """Number of classes of a model's main head, or None if it has none."""
    found = dict(_heads(model, ''))
    others = [name for name in found if name.endswith('head') or not name]
    for name in ('decode_head', 'bbox_head', 'head', *others):
        if name in found:
            return found[name]
    return None


def _heads(model: dict | list | tuple, name: str) -> Iterator[tuple[str, int]]:
    """Numbers of classes within a model, by the names of their parts."""
    is_dict = isinstance(model, dict)
    if is_dict and isinstance(model.get('num_classes'), int):
        yield name, model['num_classes']
    for key, part in model.items() if is_dict else [(name, p) for p in model]:
        # Proposals have classes of their own, backbones may have unused ones.
        if key not in ('rpn_head', 'backbone') and isinstance(
            part, (dict, list, tuple)
        ):
            yield from _heads(part, key)


def _paths(part: Part, key: str) -> list[str]:
    paths = (item.get(key) for item in part.items)
    return [path for path in paths if isinstance(path, str)]


def _check_whole_folders(part: Part) -> Iterator[Problem]:
    """Find folders that have none of the files that are looked for."""
    if not part.files_on_this_disk:
        return
    for key, kind in [
        ('img_path', 'no image'),
        ('seg_map_path', 'no label image'),
    ]:
        paths = _paths(part, key)
        if paths and len(not_there(paths)) == len(paths):
            folder = os.path.dirname(paths[0])
            suffix = getattr(part.dataset, 'seg_map_suffix', None)
            ours = f'seg_map_suffix={suffix!r}, ' if key[0] == 's' else ''
            what = (
                f'none of the {len(paths)} files exists, the first would be '
                f'{paths[0]!r}; {ours}{describe(folder)}'
            )
            fix = 'correct data_prefix, the suffix or the names in ann_file'
            yield Problem(kind, folder, what, '', fix, 'fatal')


def missing_files(part: Part) -> Iterator[Problem]:
    """Find files that do not exist, unless all of a kind do not."""
    if not part.files_on_this_disk:
        return
    # Training draws other samples; a metric needs all.
    level = 'problem' if part.is_in('train') else 'fatal'
    for key in ('img_path', 'seg_map_path'):
        paths = _paths(part, key)
        missing = not_there(paths)
        if missing and len(missing) < len(paths):
            what = f'{len(missing)} of {len(paths)} files do not exist'
            yield Problem('missing file', missing[0], what, level=level)


def name_split(
    problems: list[Problem], split: str, splits: Iterable[str]
) -> Iterator[Problem]:
    """Add the name of the split to problems.

    Args:
        problems (list[Problem]): Problems of a data set.
        split (str): Names of the splits that read it.
        splits (Iterable[str]): Those of all data sets.

    Yields:
        Problem: A note if another data set of training makes up for it.
    """
    several = any('train[' in name for name in splits)
    for problem in problems:
        # One of several may have only background.
        if several and problem.kind in ('empty labels', 'one label only'):
            problem = problem._replace(level='note')
        yield problem._replace(split=split)


def compare(
    cfg: Config, parts: list[Part], loaders: Sequence[str]
) -> Iterator[Problem]:
    """Compare the splits with each other, and with the metrics.

    Args:
        cfg (Config): Config of a toolbox.
        parts (list[Part]): Data sets, of which the labels were looked at.
        loaders (Sequence[str]): Those of which the metrics are checked.

    Yields:
        Problem: With the name of the split.
    """
    yield from classes.compare(parts)
    yield from classes.unseen(parts, _num_classes(cfg.get('model') or {}))
    seen: dict[Problem, list] = {}
    for loader in loaders:
        for evaluator in _evaluators(cfg, loader):
            for problem in _check_evaluator_safely(evaluator, loader, parts):
                seen.setdefault(problem, []).append(loader)
    for problem, splits in seen.items():
        yield problem._replace(split=', '.join(splits))


def _check_evaluator_safely(
    evaluator: dict, loader: str, parts: list[Part]
) -> list[Problem]:
    try:
        return [*_check_evaluator(evaluator, loader, parts)]
    # Whatever a file has that is none of COCO's.
    except Exception as error:
        what = f'{type(error).__name__}: {error}'
        where = str(evaluator.get('ann_file'))
        return [Problem('not checked', where, what, level='note')]


def _evaluators(cfg: Config, loader: str) -> Iterator[dict]:
    """Configs of the metrics of a loader, also if an Evaluator has them."""
    found = cfg.get(f'{loader}_evaluator') or []
    for one in found if isinstance(found, (list, tuple)) else [found]:
        inner = one.get('metrics')
        if isinstance(inner, dict):
            yield inner
        elif inner and all(isinstance(metric, dict) for metric in inner):
            yield from inner
        else:
            yield one


def _check_evaluator(
    evaluator: dict, loader: str, parts: list[Part]
) -> Iterator[Problem]:
    path = evaluator.get('ann_file')
    if not path:
        return
    backend_args = evaluator.get('backend_args')
    is_coco = class_name(evaluator) == 'CocoMetric'
    if not may_exist(path, backend_args):
        what = 'ann_file of the evaluator does not exist'
        level = 'fatal' if is_coco else 'problem'
        yield Problem('missing file', path, what, level=level)
        return
    these = [part for part in parts if part.is_in(loader)]
    if not is_coco or evaluator.get('format_only') or len(these) != 1:
        return
    (part,) = these
    truth, problems = part.truth, []
    if truth is None or os.path.realpath(path) != os.path.realpath(part.where):
        truth = coco.read_file(path, backend_args)
        problems = coco.check_structure(truth, path, part.classes or ())
    train = next((p for p in parts if p.is_in('train')), part)
    if part.cfg.get('return_classes'):
        train = part
    if not any(problem.level == 'fatal' for problem in problems):
        problems += check_coco_metric(
            evaluator, truth, part.classes or (), train.names, part.image_ids
        )
    # A test without annotations may be meant to write predictions only.
    if loader == 'test':
        for problem in problems:
            none = problem.kind == 'no metric' and 'no box' in problem.what
            yield problem._replace(level='note') if none else problem
    else:
        yield from problems
