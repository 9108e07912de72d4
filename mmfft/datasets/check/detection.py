# Copyright (c) mmfft authors. All rights reserved.
"""Boxes: those that are wrong, and those that the data set class drops."""

import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator

from mmengine.fileio import get

from ...openmmlab.scopes import class_name
from . import coco
from .names import few
from .parts import Part
from .problems import Problem

_FIXES = {
    'label out of range': 'use only category ids that the file lists',
    'broken annotations': 'correct or remove these annotations',
    'box without area': 'remove or correct these boxes',
    'box outside the image': 'boxes are [x, y, width, height] in pixels of '
    'the image as it is stored',
    'box without mask': 'write a segmentation, or with_mask=False into '
    'LoadAnnotations',
    'wrong size': "encode masks at their image's size",
}


def look(part: Part, num_classes: int | None) -> Iterator[Problem]:
    """Check and count boxes.

    Args:
        part (Part): Data set; counts and names of its labels are set.
        num_classes (int, optional): Number of classes of the model.

    Yields:
        Problem: Those with the boxes.
    """
    part.unit, part.by_name = 'box', True
    classes = part.classes or ()
    if isinstance(classes, str):
        yield Problem(
            'other classes',
            part.where,
            f'classes={classes!r} is a text, whose letters are the classes',
            fix=f'write metainfo=dict(classes=({classes!r},)), with a comma',
        )
        classes = [classes]
    part.names = _names_of_labels(part, list(classes))
    boxes = [box for item in part.items for box in item['instances']]
    used = [box for box in boxes if not box.get('ignore_flag')]
    part.counts.update(box['bbox_label'] for box in used)
    if (
        num_classes not in (None, len(classes))
        and classes
        # Otherwise it is the names that are missing, and said below.
        and (boxes or part.classes_given)
    ):
        what = f'{len(classes)} classes, the model has {num_classes}'
        largest = max(part.counts, default=-1)
        yield Problem(
            'label out of range',
            part.where,
            what,
            '',
            f'write num_classes={len(classes)} into the heads of the model, '
            'or the classes of the model into metainfo',
            _level(part) if largest >= num_classes else 'problem',
        )
    if part.truth is not None:
        yield from _look_at_coco(part, list(classes), len(boxes))
    else:
        yield from _look_at_instances(part)
        dropped = [*_look_at_xml(part, list(classes), len(boxes))]
        yield from dropped
        if not boxes and not dropped:
            yield from _no_box(part)
    if boxes and not used:
        yield Problem(
            'empty labels',
            part.where,
            f'all {len(boxes)} boxes are to be ignored (iscrowd, difficult, '
            'bbox_min_size)',
            fix='write iscrowd=0 for single objects, also with masks in RLE',
            level=_level(part),
        )
    without = sum(not item['instances'] for item in part.items)
    if boxes and without:
        what = f'{without} of {len(part.items)} images have no box'
        yield Problem('empty images', part.where, what, level='note')


def _level(part: Part) -> str:
    """Level of what leaves no box that can be used."""
    return 'fatal' if part.is_in('train') else 'problem'


def _names_of_labels(part: Part, classes: list[str]) -> list[str] | None:
    if part.truth is None:
        return classes or None
    # In the order of the file, whatever that of metainfo is.
    names = {c['id']: c['name'] for c in part.truth['categories']}
    labels = {v: names[k] for k, v in part.dataset.cat2label.items()}
    return [labels.get(i, '') for i in range(max(labels, default=-1) + 1)]


def _metainfo(names: list[str]) -> str:
    shown = ', '.join(map(repr, names[:20])) + (',' if len(names) == 1 else '')
    more = ', ...' if len(names) > 20 else ''
    return (
        f'write metainfo=dict(classes=({shown}{more})) into the dataset of '
        'train_, val_ and test_dataloader'
    )


# ----------------------------------------------------------- files like COCO's


def _look_at_coco(part: Part, classes: list, kept: int) -> Iterator[Problem]:
    truth, where = part.truth, part.where
    names = [category['name'] for category in truth['categories']]
    in_use = {item['img_id'] for item in part.items}
    boxes = [
        box
        for box in truth.get('annotations') or []
        if box['image_id'] in in_use and not box.get('ignore')
    ]
    if not boxes:
        yield from _no_box(part)
        return
    yield from _compare_names(part, classes, names, boxes, kept)
    if not kept and coco.are_normalized(truth):
        yield Problem(
            'normalized boxes',
            where,
            f'all boxes are within 0 and 1, the first is {boxes[0]["bbox"]}; '
            'the data set class drops boxes of less than a pixel',
            fix='multiply x and width by the width of the image, y and '
            'height by its height',
            level=_level(part),
        )
        return
    steps = part.cfg.get('pipeline') or []
    with_mask = any(step.get('with_mask') for step in steps)
    found = [*coco.check_boxes(truth, part.items, with_mask)]
    outside = sum(kind == 'box outside the image' for kind, *_ in found)
    fixes = dict(_FIXES)
    if coco.are_corners(truth, outside):
        fixes['box outside the image'] = (
            'the boxes look like [x1, y1, x2, y2]: write [x, y, width, height]'
        )
    for kind, path, what in found:
        yield Problem(kind, path or where, what, '', fixes[kind])
    if not kept and all(n in classes for n in names):
        reasons = Counter(kind for kind, *_ in found)
        yield Problem(
            'empty labels',
            where,
            f'the data set class drops all {len(boxes)} boxes: '
            + ', '.join(f'{kind} ({n})' for kind, n in reasons.items()),
            fix='correct the boxes, see the other findings',
            level=_level(part),
        )


def _no_box(part: Part) -> Iterator[Problem]:
    what, fix = 'no box at all', 'write annotations into the file'
    if part.is_in('train'):
        yield Problem('empty labels', part.where, what, '', fix, 'fatal')
    else:
        # Files for tests have none; the metric says whether it needs them.
        yield Problem('empty labels', part.where, what, level='note')


def _compare_names(part, classes, names, boxes, kept) -> Iterator[Problem]:
    where = part.where
    absent = [name for name in classes if name not in names]
    ids = {c['id']: c['name'] for c in part.truth['categories']}
    lost = Counter(ids.get(box['category_id']) for box in boxes)
    lost = Counter({k: n for k, n in lost.items() if k not in classes and k})
    if lost:
        what = (
            f'{lost.total()} of {len(boxes)} boxes are dropped: '
            f'{few(list(lost))} are none of the classes'
        )
        if not part.classes_given:
            what += (
                f', which are the {len(classes)} of '
                f'{class_name(type(part.dataset))}, because metainfo has none'
            )
        if kept and part.classes_given:
            yield Problem('other classes', where, what, level='note')
        else:
            fix = _metainfo(list(dict.fromkeys(names)))
            level = 'problem' if kept else _level(part)
            yield Problem('other classes', where, what, '', fix, level)
    if absent and (kept or not lost):
        some = absent if len(absent) <= 5 else f'{absent[:5]} and more'
        what = f'no category has the name {some}'
        yield Problem('label out of range', where, what, '', _metainfo(names))
    here = [name for name in names if name in classes]
    ordered = [name for name in classes if name in names]
    if here != ordered and len(set(here)) == len(here):
        yield Problem(
            'other classes',
            where,
            f'labels follow the order of the file, {few(here)}, but the '
            f'names that of metainfo, {few(ordered)}',
            fix=_metainfo(here),
        )


# ------------------------------------------------------------------ any others


def _look_at_instances(part: Part) -> Iterator[Problem]:
    for item in part.items:
        width, height = item.get('width'), item.get('height')
        for i, box in enumerate(item['instances']):
            if 'bbox' not in box:
                continue
            x1, y1, x2, y2 = box['bbox']
            what = f'box {i} is {list(box["bbox"])} (x1, y1, x2, y2)'
            kind = None
            if x2 <= x1 or y2 <= y1:
                kind = 'box without area'
            elif width and height:
                what += f' in {width}x{height} pixels'
                if (
                    min(x1, y1) < -coco.BORDER
                    or x2 > width + coco.BORDER
                    or y2 > height + coco.BORDER
                ):
                    kind = 'box outside the image'
            if kind:
                where = item.get('img_path', part.where)
                yield Problem(kind, where, what, '', _FIXES[kind])


def _look_at_xml(part: Part, classes: list, kept: int) -> Iterator[Problem]:
    """Boxes of other names, which mmdet's classes for VOC drop."""
    names: Counter = Counter()
    for item in part.items:
        if 'xml_path' in item:
            text = get(
                item['xml_path'], backend_args=part.dataset.backend_args
            )
            found = ET.fromstring(text).iterfind('object/name')
            names.update(name.text for name in found)
    lost = [name for name in names if name not in classes]
    if lost:
        number = sum(names[name] for name in lost)
        what = (
            f'{number} of {names.total()} boxes are dropped: {few(lost)} are '
            f'none of the {len(classes)} classes'
        )
        given = part.classes_given
        level = 'problem' if kept else _level(part)
        level = 'note' if given and kept else level
        fix = '' if level == 'note' else _metainfo(sorted(names))
        yield Problem('other classes', part.where, what, '', fix, level)
