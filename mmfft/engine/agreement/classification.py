# Copyright (c) mmfft authors. All rights reserved.
"""Whether a classifier agrees with its data and metrics."""

import os
from collections.abc import Iterator

from mmengine.config import Config
from torch import nn

from ...openmmlab.scopes import class_name
from .settings import (
    Disagreement,
    against_data,
    class_weight,
    is_list,
    key_of,
    metrics,
    transforms,
)


def old_mixup(cfg: Config) -> Iterator[Disagreement]:
    """Mixup of a config for mmpretrain before 1.0 cannot be built."""
    train_cfg = cfg.model.get('train_cfg') or {}
    augments = train_cfg.get('augments') or []
    for augment in augments if isinstance(augments, list) else [augments]:
        if isinstance(augment, dict) and 'num_classes' in augment:
            yield Disagreement(
                'model.train_cfg.augments',
                f'{class_name(augment)} takes no num_classes='
                f'{augment["num_classes"]} (mmpretrain before 1.0): the '
                'number of classes is data_preprocessor.num_classes',
            )


def classification(cfg, model, parts, data) -> Iterator[Disagreement]:
    """Number of classes of head, labels, losses and metrics."""
    head = getattr(model, 'head', None)
    if not isinstance(head, nn.Module):
        return
    count = getattr(head, 'num_classes', cfg.model.head.get('num_classes'))
    output = next((p.output for p in parts if p.name == 'head'), None)
    if hasattr(output, 'shape') and output.dim() == 2:
        count = output.shape[1]
    if not isinstance(count, int):
        return
    wrong = []
    for one in data.get('train', []):
        one = one._replace(classes=one.classes or _folders(one.dataset))
        wrong += against_data('model.head.num_classes', count, one, False)
    yield from wrong
    for one in data.get('val', []):
        for found in against_data('model.head.num_classes', count, one, False):
            # Not an error for the metric, only never right.
            yield found._replace(certain=False)
    if not wrong:
        yield from _one_hot(model, head, count, data)
    for where, metric in metrics(cfg, data):
        topk = metric.get('topk')
        largest = max(topk, default=0) if is_list(topk) else topk
        if isinstance(largest, int) and largest > count:
            yield Disagreement(
                f'{where}.topk',
                f'{topk} of only {count} classes: set topk=(1,)'
                + (' or smaller numbers' if count > 2 else ''),
            )
        own = metric.get('num_classes')
        if isinstance(own, int) and own != count:
            yield Disagreement(
                f'{where}.num_classes',
                f'{own}, but the head has {count} classes: set '
                f'num_classes={count}',
                certain=False,
            )
    for name, module in head.named_modules():
        where = key_of(f'head.{name}'.rstrip('.')).replace(
            'loss_module', 'loss'
        )
        other = getattr(module, 'num_classes', None)
        if name and isinstance(other, int) and other != count:
            yield Disagreement(
                f'{where}.num_classes',
                f'{other}, but the head has {count}: set num_classes={count}',
            )
        yield from class_weight(where, module, count)


def _folders(dataset) -> tuple[str, ...] | None:
    """Classes of a data set whose annotations are the names of folders."""
    if getattr(dataset, 'ann_file', None) or not getattr(
        dataset, 'with_label', False
    ):
        return None
    folder = getattr(dataset, 'img_prefix', None)
    if not isinstance(folder, str) or not os.path.isdir(folder):
        return None
    return tuple(sorted(e.name for e in os.scandir(folder) if e.is_dir()))


def _one_hot(model, head, count, data) -> Iterator[Disagreement]:
    """Mixup and CutMix mix labels in a form that has the number of classes."""
    preprocessor = getattr(model, 'data_preprocessor', None)
    if not hasattr(preprocessor, 'to_onehot'):
        return
    where = 'data_preprocessor.num_classes'
    other = preprocessor.num_classes
    one_hot = preprocessor.to_onehot
    why = 'Mixup, CutMix and other batch augments need it'
    if one_hot and other is None and not _packs_num_classes(data):
        yield Disagreement(
            where, f'is not set, but {why}: set num_classes={count}'
        )
    elif other is not None and other != count:
        yield Disagreement(
            where,
            f'{other}, but the head has {count} classes'
            + (f', and {why}' if one_hot else '')
            + f': set num_classes={count}',
            certain=one_hot,
        )
    if getattr(head, 'cal_acc', False):
        largest = max(head.topk) if is_list(head.topk) else head.topk
        if largest > count:
            yield Disagreement(
                'model.head.topk',
                f'{head.topk} of only {count} classes: set topk=(1,)',
            )
        if getattr(preprocessor, 'batch_augments', None) is not None:
            yield Disagreement(
                'model.head.cal_acc',
                'True, but mixed images have no label to be right about: set '
                'cal_acc=False, or leave out the batch augments',
            )


def _packs_num_classes(data) -> bool:
    return any(
        'num_classes' in (step.get('meta_keys') or ())
        for one in data.get('train', [])
        for step in transforms(one.cfg)
    )
