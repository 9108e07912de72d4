# Copyright (c) mmfft authors. All rights reserved.
"""Whether mmdet's CocoMetric can compute its numbers, and the right ones."""

from collections.abc import Iterator, Sequence

from .names import few, moved
from .problems import Problem


def check_coco_metric(
    evaluator: dict,
    truth: dict,
    classes: Sequence[str],
    labels: Sequence[str] | None,
    image_ids: set,
) -> Iterator[Problem]:
    """Find why mmdet's CocoMetric would fail, or compute another number.

    Args:
        evaluator (dict): Config of the metric, with ``ann_file``.
        truth (dict): Content of that file.
        classes (Sequence[str]): Names of the classes of the data set.
        labels (Sequence[str], optional): Names of the labels that the model
            learns, in their order; none if they are not known.
        image_ids (set): Ids of the images for which there are predictions.

    Yields:
        Problem: Those with the metric.
    """
    where = evaluator['ann_file']
    metrics = evaluator.get('metric', 'bbox')
    metrics = [metrics] if isinstance(metrics, str) else list(metrics)
    categories = truth['categories']
    if evaluator.get('sort_categories'):
        categories = sorted(categories, key=lambda c: c['id'])
    names = [c['name'] for c in categories if c['name'] in classes]
    wanted = {c['id'] for c in categories if c['name'] in names}
    boxes = [
        box
        for box in truth.get('annotations') or []
        if box['category_id'] in wanted
    ]
    if not boxes:
        yield Problem(
            'no metric',
            where,
            'has no box of these classes, so that AP is always -1',
            fix='write annotations into the file, or format_only=True into '
            'the evaluator to write predictions without a metric',
        )
    for key, reason in [
        ('iscrowd', ''),
        ('area', ''),
        ('segmentation', 'segm'),
    ]:
        bad = [box for box in boxes if key not in box]
        if bad and (not reason or reason in metrics):
            value = '0' if key == 'iscrowd' else 'the value'
            yield Problem(
                'no metric',
                where,
                f'{len(bad)} of {len(boxes)} annotations have no {key!r}: '
                'the metric ends with KeyError after the first validation',
                fix=f'write {value} for {key!r} into each annotation',
                level='fatal',
            )
    if any(box['id'] == 0 for box in boxes):
        yield Problem(
            'wrong metric',
            where,
            'has an annotation of id 0, which COCOeval takes for "no match": '
            'AP is too low',
            fix='number the annotations from 1',
        )
    if boxes and all(box.get('iscrowd') for box in boxes):
        yield Problem(
            'no metric',
            where,
            'all annotations have iscrowd=1 and are ignored, so that AP is '
            'always -1',
            fix='write iscrowd=0 for single objects, also with masks in RLE',
        )
    yield from _compare_images(where, truth, image_ids)
    if labels:
        yield from _compare_labels(where, names, list(labels))


def _compare_images(where, truth, image_ids) -> Iterator[Problem]:
    known = {image['id'] for image in truth['images']}
    unknown, rest = image_ids - known, known - image_ids
    if unknown:
        yield Problem(
            'no metric',
            where,
            f'{len(unknown)} of {len(image_ids)} images of the data set are '
            'not in this file of the evaluator: the metric ends with '
            'AssertionError',
            fix="give the evaluator the data set's own ann_file",
            level='fatal',
        )
    elif rest and image_ids:
        yield Problem(
            'wrong metric',
            where,
            f'the evaluator counts {len(rest)} images as missed that the '
            f'data set leaves out; it predicts {len(image_ids)}',
            fix="give the evaluator a file of the data set's images only; "
            'test_mode=True keeps a filter away, indices=None uses all',
        )


def _compare_labels(where, names, labels) -> Iterator[Problem]:
    if moved(labels, names):
        yield Problem(
            'other classes',
            where,
            f'the metric numbers the classes {few(names)}, the model learns '
            f'{few(labels)}: predictions count for another class',
            fix='list the same categories in the same order in all files',
            level='fatal',
        )
    elif len(names) < len(labels):
        lost = labels[len(names) :]
        yield Problem(
            'other classes',
            where,
            f'has no category {few(lost)}: the metric ends with IndexError '
            'at the first prediction of it',
            fix='list the same categories in the same order in all files',
        )
