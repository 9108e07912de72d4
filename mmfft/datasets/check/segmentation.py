# Copyright (c) mmfft authors. All rights reserved.
"""Label images: their values, and whether the classes fit them."""

from collections import Counter
from collections.abc import Iterator

from .parts import Part
from .problems import Problem

# What a class that is no object tends to be called.
_BACKGROUND = ('background', 'bg', '_background_', 'unlabeled', 'other')


def look(part: Part, num_classes: int | None) -> Iterator[Problem]:
    """Check the classes of label images.

    Args:
        part (Part): Data set; the names of its labels are set.
        num_classes (int, optional): Number of classes of the model.

    Yields:
        Problem: Those with the classes.
    """
    part.unit = 'pixel'
    classes = part.classes
    if not classes:
        number = num_classes or 2
        yield Problem(
            'other classes',
            part.folder,
            'the data set has no names of classes, which the metric needs',
            fix=f'write metainfo=dict(classes=(...)) with {number} names into '
            'the dataset of train_, val_ and test_dataloader',
        )
        return
    part.names = list(classes)
    part.by_name = bool(getattr(part.dataset, 'label_map', None))
    if num_classes not in (None, len(classes)):
        # Two classes may share one channel, a sigmoid.
        level = 'note' if (num_classes, len(classes)) == (1, 2) else 'problem'
        what = f'{len(classes)} classes, the model has {num_classes}'
        fix = f'write num_classes={len(classes)} into the heads of the model'
        where = part.folder
        yield Problem('label out of range', where, what, '', fix, level)


def judge(part: Part, values: Counter, images: int) -> Iterator[Problem]:
    """Judge the values of all label images of a data set together.

    Args:
        part (Part): Data set; the counts of its labels are set.
        values (Counter): Number of pixels of each value, as it is loaded for
            training.
        images (int): Number of label images.

    Yields:
        Problem: Those that no single image shows.
    """
    ignored = getattr(part.dataset, 'ignore_index', 255)
    labels = {v: n for v, n in values.items() if v != ignored}
    part.counts.update(labels)
    number = len(part.classes or ())
    if len(labels) == 1 and number > 1 and images > 1:
        (label,) = labels
        binary = label == 0 and values.get(ignored)
        yield Problem(
            'one label only',
            part.folder,
            f'all {images} label images have only label {label}'
            + (f' and {ignored}, which is ignored' if binary else '')
            + ': a model that always says so has mIoU 100',
            '',
            'masks of 0 and 255 must be saved as 0 and 1'
            if binary
            else 'check how the label images were made',
            'fatal' if part.is_in('train') else 'problem',
        )
    names = [str(name).lower() for name in part.classes or ('',)]
    reduced = getattr(part.dataset, 'reduce_zero_label', False)
    if reduced and names[0] in _BACKGROUND and number - 1 not in labels:
        yield Problem(
            'one label only' if not labels else 'label out of range',
            part.folder,
            f'reduce_zero_label=True ignores label 0, {part.classes[0]!r}, '
            'and numbers the others one less',
            fix='write reduce_zero_label=False, or leave the class out',
        )


def fix_of(wrong: list[int], number: int, lowest: int, ignored: int) -> str:
    """Say what to change about labels that are out of range.

    Args:
        wrong (list[int]): Labels that are out of range.
        number (int): Number of classes.
        lowest (int): Lowest label of the image.
        ignored (int): Label that is ignored.
    """
    if wrong == [255] and number == 2:
        return 'masks of 0 and 255 must be saved as 0 and 1'
    if wrong == [255]:
        return f'255 is not ignored, but {ignored}: set ignore_index'
    if wrong == [number] and lowest > 0:
        return (
            'the labels start at 1: write reduce_zero_label=True, or subtract '
            '1 from each'
        )
    return f'labels are 0 to {number - 1}, and {ignored} is ignored'
