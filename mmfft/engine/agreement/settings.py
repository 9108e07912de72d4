# Copyright (c) mmfft authors. All rights reserved.
"""What the checks of a config share: findings, data sets, settings."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.registry import DATASETS

from ...openmmlab.scopes import leaf_datasets
from ..quiet import quiet

LOAD_LABELS = 'LoadAnnotations'


class Disagreement(NamedTuple):
    """Two places of a config that do not fit each other.

    Args:
        where (str): Name of the setting that should change.
        what (str): Its value, what it does not fit, and what would be right.
        certain (bool): Whether the run would fail or be wrong. Otherwise it
            may be meant so. Defaults to True.
    """

    where: str
    what: str
    certain: bool = True


class Data(NamedTuple):
    """One data set of a split, as far as it is known without its files.

    Args:
        where (str): Name of the data set in the config.
        cfg (dict): Config of the data set.
        dataset (Any): Data set that has not read its annotations.
        classes (tuple[str], optional): Names of the classes.
    """

    where: str
    cfg: dict
    dataset: Any
    classes: tuple[str, ...] | None

    @property
    def has_own_classes(self) -> bool:
        """Whether the config leaves the classes to the data set's class."""
        metainfo = self.cfg.get('metainfo') or {}
        return 'classes' not in metainfo and not self.cfg.get('classes')


def data_sets(cfg: Config, split: str) -> Iterator[Data]:
    """Data sets of a split, without those that cannot be built like this."""
    loader = cfg.get(f'{split}_dataloader')
    if not isinstance(loader, dict) or not isinstance(
        loader.get('dataset'), dict
    ):
        return
    leaves = list(leaf_datasets(loader['dataset']))
    for i, leaf in enumerate(leaves):
        number = f' {i}' if len(leaves) > 1 else ''
        where = f'{split}_dataloader.dataset{number}'
        try:
            with quiet():
                dataset = DATASETS.build(
                    {**leaf, 'lazy_init': True, 'pipeline': []}
                )
        # Some read files at once, others have no such arguments.
        except Exception:
            continue
        classes = (getattr(dataset, 'metainfo', None) or {}).get('classes')
        if isinstance(classes, list):
            classes = tuple(classes)
        yield Data(where, leaf, dataset, classes)


def metrics(cfg: Config, data: dict) -> Iterator[tuple[str, dict]]:
    """Metrics of the splits that are keys of ``data``, by their names."""
    for split in data:
        evaluator = cfg.get(f'{split}_evaluator')
        given = evaluator
        if isinstance(evaluator, dict) and 'metrics' in evaluator:
            given = evaluator['metrics']
        many = isinstance(given, (list, tuple))
        for i, metric in enumerate(given if many else [given]):
            if isinstance(metric, dict):
                number = f'[{i}]' if many and len(given) > 1 else ''
                yield f'{split}_evaluator{number}', metric


def transforms(dataset_cfg: dict) -> Iterator[dict]:
    """Transforms of a pipeline, also of those that hold others."""

    def walk(steps):
        for step in steps if is_list(steps) else [steps]:
            if is_list(step):
                yield from walk(step)
            elif isinstance(step, dict):
                yield step
                yield from walk(step.get('transforms') or [])

    yield from walk(dataset_cfg.get('pipeline') or [])


def key_of(module_name: str) -> str:
    """Name of a module as the config writes it."""
    return 'model' + ''.join(
        f'[{part}]' if part.isdecimal() else f'.{part}'
        for part in module_name.split('.')
    )


def is_list(value) -> bool:
    """Whether a setting is a list or a tuple."""
    return isinstance(value, (list, tuple))


def _some(classes: Sequence) -> str:
    more = ', ...' if len(classes) > 3 else ''
    names = ', '.join(repr(name) for name in classes[:3]) + more
    return f'{len(classes)} class{"es" if len(classes) > 1 else ""} ({names})'


def with_different_classes(data: dict[str, list[Data]]) -> list[Data]:
    """Data sets of training and validation, one of those that are alike."""
    found: dict[tuple | None, Data] = {}
    for one in (*data.get('train', []), *data.get('val', [])):
        found.setdefault(one.classes, one)
    return list(found.values())


def against_data(
    where: str, count: int, data: Data, more_is_certain: bool
) -> Iterator[Disagreement]:
    """``num_classes`` of a head against the classes of a data set."""
    classes = data.classes
    if classes is None or count == len(classes):
        return
    name = type(data.dataset).__name__
    if data.has_own_classes and type(data.dataset).METAINFO.get('classes'):
        what = (
            f'{count}, but {data.where} has no metainfo and so the '
            f'{len(classes)} classes of {name} itself: give it '
            f'metainfo=dict(classes=(...)) with the names of your {count}, or '
            f'set num_classes={len(classes)}'
        )
    else:
        what = (
            f'{count}, but {data.where} has {_some(classes)}: set '
            f'num_classes={len(classes)}'
        )
    yield Disagreement(
        where, what, certain=count < len(classes) or more_is_certain
    )


def class_weight(where, module, count) -> Iterator[Disagreement]:
    """A loss has one weight for each class."""
    weight = getattr(module, 'class_weight', None)
    if is_list(weight) and len(weight) != count:
        yield Disagreement(
            f'{where}.class_weight',
            f'has {len(weight)} weights for {count} classes',
        )
