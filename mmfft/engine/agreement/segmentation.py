# Copyright (c) mmfft authors. All rights reserved.
"""Whether a segmentor agrees with its data and metrics."""

from collections.abc import Iterator

import torch
from torch import nn

from ...openmmlab.scopes import class_name
from .settings import (
    LOAD_LABELS,
    Data,
    Disagreement,
    against_data,
    class_weight,
    key_of,
    metrics,
    transforms,
    with_different_classes,
)


def segmentation(cfg, model, parts, data) -> Iterator[Disagreement]:
    """Number of classes, and labels that are left out."""
    heads = list(_segmentation_heads(model))
    splits = (*data.get('train', []), *data.get('val', []))
    for name, head in heads:
        where = key_of(name)
        binary = head.out_channels == 1
        for one in with_different_classes(data):
            if binary and one.classes is not None and len(one.classes) == 2:
                continue
            yield from against_data(
                f'{where}.num_classes', head.num_classes, one, False
            )
        losses = head.loss_decode
        for loss in losses if isinstance(losses, nn.ModuleList) else [losses]:
            yield from _segmentation_loss(where, head, loss)
        yield from _ignored(cfg, model, where, head, data)
    for one in splits:
        yield from _zero_label(one)
        if one.classes is not None and len(one.classes) == 1 and heads:
            yield Disagreement(
                f'{one.where}.metainfo.classes',
                f'has only {one.classes[0]!r}, from which nothing is to be '
                'told: background is a class of its own, '
                f"classes=('background', {one.classes[0]!r}) with "
                'num_classes=2',
            )
    for train in data.get('train', []):
        for val in data.get('val', []):
            values = [
                getattr(d.dataset, 'reduce_zero_label', None)
                for d in (train, val)
            ]
            if None not in values and values[0] != values[1]:
                yield Disagreement(
                    f'{val.where}.reduce_zero_label',
                    f'{values[1]}, but {train.where} has {values[0]}: the '
                    'labels differ by one',
                )
    for one in data.get('val', []):
        if one.classes is None:
            yield Disagreement(
                f'{one.where}.metainfo',
                'has no classes, without which validation cannot be '
                'evaluated: set metainfo=dict(classes=(...), palette=[...])',
            )


def _segmentation_heads(model) -> Iterator[tuple[str, nn.Module]]:
    for name, module in model.named_modules():
        if (
            name.startswith(('decode_head', 'auxiliary_head'))
            and name.count('.') < 2
            and hasattr(module, 'loss_decode')
            and isinstance(getattr(module, 'num_classes', None), int)
            # It learns edges, not the classes.
            and type(module).__name__ != 'STDCHead'
        ):
            yield name, module


def _segmentation_loss(where, head, loss) -> Iterator[Disagreement]:
    yield from class_weight(f'{where}.loss_decode', loss, head.out_channels)
    softmax = getattr(loss, 'use_sigmoid', None) is False
    is_cross_entropy = type(loss).__name__ == 'CrossEntropyLoss'
    if head.out_channels == 1 and softmax and is_cross_entropy:
        yield Disagreement(
            f'{where}.loss_decode.use_sigmoid',
            'False, but the softmax of a single channel (out_channels=1 or '
            'num_classes=1) is always 1: set use_sigmoid=True and '
            'num_classes=2',
        )
    if (
        is_cross_entropy
        and softmax
        and loss.avg_non_ignore
        and len(loss.class_weight or ()) == head.out_channels
        and not _runs(loss, head)
    ):
        yield Disagreement(
            f'{where}.loss_decode.avg_non_ignore',
            'True, which this mmsegmentation cannot compute together with '
            'class_weight: set avg_non_ignore=False',
        )
    ignored = getattr(loss, 'ignore_index', None)
    if isinstance(ignored, int) and ignored != head.ignore_index:
        yield Disagreement(
            f'{where}.loss_decode.ignore_index',
            f'{ignored}, but the head ignores {head.ignore_index}',
            certain=False,
        )


def _runs(loss: nn.Module, head: nn.Module) -> bool:
    """Whether a loss takes a label that is left out."""
    scores = torch.zeros(1, head.out_channels, 1, 2)
    labels = torch.tensor([[[0, head.ignore_index]]])
    try:
        loss(scores, labels, ignore_index=head.ignore_index)
    except (IndexError, RuntimeError):
        return False
    return True


def _ignored(cfg, model, where, head, data) -> Iterator[Disagreement]:
    """The label that is left out must be the same one everywhere."""
    ours = head.ignore_index
    where = f'{where}.ignore_index'
    for key, metric in metrics(cfg, data):
        if class_name(metric) != 'IoUMetric':
            continue
        theirs = metric.get('ignore_index', 255)
        if theirs == ours:
            continue
        # A class may be left out of the mean on purpose, but not be counted
        # where it was never learnt.
        yield Disagreement(
            f'{key}.ignore_index',
            f'{theirs}, but {where} is {ours}: set both to the label that is '
            'to be left out',
            certain=not 0 <= theirs < head.num_classes,
        )
    for one in (*data.get('train', []), *data.get('val', [])):
        theirs = one.cfg.get('ignore_index', ours)
        if theirs != ours:
            yield Disagreement(
                where,
                f'{ours}, but {one.where} ignores {theirs}: set '
                f'ignore_index={theirs} of the head and of the evaluator',
            )
        if getattr(one.dataset, 'reduce_zero_label', False) and ours != 255:
            yield Disagreement(
                where,
                f'{ours}, but reduce_zero_label=True of {one.where} makes '
                'label 0 to 255: set ignore_index=255',
            )
    padded = getattr(model.data_preprocessor, 'seg_pad_val', ours)
    if padded != ours:
        yield Disagreement(
            'model.data_preprocessor.seg_pad_val',
            f'{padded}, but {where} is {ours}: what is added to images of '
            f'other sizes would be learnt; set seg_pad_val={ours}',
            certain=False,
        )


def _zero_label(data: Data) -> Iterator[Disagreement]:
    reduced = getattr(data.dataset, 'reduce_zero_label', None)
    if reduced is None:
        return
    for step in transforms(data.cfg):
        loads = class_name(step) == LOAD_LABELS
        theirs = step.get('reduce_zero_label') if loads else None
        if theirs is not None and theirs != reduced:
            yield Disagreement(
                f'{data.where}.reduce_zero_label',
                f'{reduced}, but LoadAnnotations of its pipeline has '
                f'{theirs}: set it at the data set only',
            )
    names = data.classes or ('',)
    if reduced and str(names[0]).lower() in (
        'background',
        'bg',
        '_background_',
    ):
        yield Disagreement(
            f'{data.where}.reduce_zero_label',
            f'True ignores label 0 and makes label 1 the class {names[0]!r}: '
            'set reduce_zero_label=False if label 0 is the background',
            certain=False,
        )
