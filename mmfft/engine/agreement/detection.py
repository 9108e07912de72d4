# Copyright (c) mmfft authors. All rights reserved.
"""Whether a detector agrees with its data and metrics."""

import os
from collections.abc import Iterator

from mmengine.fileio import exists, load

from ...datasets.paths import data_paths
from ...openmmlab.scopes import class_name
from .settings import (
    LOAD_LABELS,
    Data,
    Disagreement,
    against_data,
    is_list,
    key_of,
    metrics,
    transforms,
    with_different_classes,
)


def detection(cfg, model, parts, data) -> Iterator[Disagreement]:
    """Number of classes of all heads, masks, and the truth of the metric."""
    if not hasattr(model, 'language_model'):
        for name, module in model.named_modules():
            count = getattr(module, 'num_classes', None)
            if not isinstance(count, int) or not _predicts_classes(name):
                continue
            where = f'{key_of(name)}.num_classes'
            for one in with_different_classes(data):
                if 'thing_classes' in (one.dataset.metainfo or {}):
                    continue  # panoptic: some heads have only things
                yield from against_data(where, count, one, True)
    yield from _masks(cfg, model, data)
    for split in set(data) - {'train'}:
        for where, metric in metrics(cfg, {split: data[split]}):
            if len(data[split]) == 1:
                yield from _truth(where, metric, data[split][0])


def _masks(cfg, model, data) -> Iterator[Disagreement]:
    """Masks are loaded for the head that learns them, and then measured."""
    has_masks = getattr(getattr(model, 'roi_head', None), 'with_mask', None)
    if has_masks is None:  # one stage: other heads may predict masks
        return
    if not has_masks:
        for where, metric in metrics(cfg, data):
            kinds = metric.get('metric')
            if 'segm' in (kinds if is_list(kinds) else [kinds]):
                yield Disagreement(
                    f'{where}.metric',
                    f"{kinds}, but the model has no mask_head: set metric='"
                    "bbox'",
                )
        return
    for one in data.get('train', []):
        loads = [
            s for s in transforms(one.cfg) if class_name(s) == LOAD_LABELS
        ]
        if loads and not any(step.get('with_mask') for step in loads):
            yield Disagreement(
                f'{one.where}.pipeline',
                f'{LOAD_LABELS} loads no masks, but the model has a '
                'mask_head: set with_mask=True',
            )


def _predicts_classes(name: str) -> bool:
    """Whether a module's ``num_classes`` must be that of the data."""
    parts = name.split('.')
    return (
        # The toolbox's own NumClassCheckHook leaves these out, too: one only
        # tells objects from background, another has classes of "stuff".
        parts[-1] not in ('', 'rpn_head', 'semantic_head')
        and not {'backbone', 'reid', 'data_preprocessor'} & set(parts)
        and any(part.endswith('head') for part in parts)
    )


def _truth(where: str, metric: dict, data: Data) -> Iterator[Disagreement]:
    """The file that predictions are compared with is that of the images."""
    theirs = metric.get('ann_file')
    ours = dict(data_paths(data.cfg)).get('ann_file')
    paths = [theirs, ours]
    if not all(isinstance(p, str) and p.endswith('.json') for p in paths):
        return
    if os.path.realpath(theirs) == os.path.realpath(ours):
        return
    if not all('://' not in p and exists(p) for p in paths):
        return
    # Another file may describe the same images.
    measured, read = (
        {image['id'] for image in load(p).get('images', [])} for p in paths
    )
    if measured != read:
        yield Disagreement(
            f'{where}.ann_file',
            f'{theirs!r} has {len(measured)} images, of which '
            f'{len(measured & read)} are among the {len(read)} of '
            f'{data.where}.ann_file {ours!r}: set it to {ours!r}',
        )
