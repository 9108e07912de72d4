# Copyright (c) mmfft authors. All rights reserved.
"""Annotation files like those of COCO, as they are written."""

import inspect
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from mmengine.fileio import get_text

from .names import few
from .problems import Problem

# Boxes are rounded: up to this many pixels outside of the image are allowed.
BORDER = 1.0


def reads_coco(dataset) -> bool:
    """Whether a data set class reads boxes from a file like COCO's.

    Args:
        dataset (BaseDataset): Data set of mmdet, or any.
    """
    # Classes of mmdet for other files also inherit from that for COCO's.
    for base in type(dataset).__mro__:
        load = vars(base).get('load_data_list')
        names = load.__code__.co_names if inspect.isfunction(load) else ()
        if load is not None and 'super' not in names:
            return 'COCOAPI' in names and all(
                # Others may need other entries of the file.
                getattr(part, '__module__', '').startswith('mmdet.')
                and 'Panoptic' not in getattr(part, '__qualname__', '')
                for part in (dataset.COCOAPI, type(dataset).parse_data_info)
            )
    return False


def read_file(path: str, backend_args: dict | None = None) -> dict:
    """Read an annotation file.

    Args:
        path (str): Path of the file.
        backend_args (dict, optional): Backend of mmengine. Defaults to none.

    Returns:
        dict: Its content.

    Raises:
        ValueError: If it is no JSON or no dictionary.
    """
    truth = json.loads(get_text(path, backend_args=backend_args))
    if not isinstance(truth, dict):
        raise ValueError(f'a {type(truth).__name__} instead of a dictionary')
    return truth


def give_truth(dataset, truth: dict) -> None:
    """Let a data set use the content of its file without reading it again.

    Args:
        dataset (BaseDataset): Data set whose class reads a file like COCO's.
        truth (dict): Content of the file.
    """
    api = dataset.COCOAPI

    def from_truth(_path):
        coco = api()
        coco.dataset = truth
        coco.createIndex()
        # mmdet's other names of the same.
        coco.img_ann_map, coco.cat_img_map = coco.imgToAnns, coco.catToImgs
        return coco

    dataset.COCOAPI = from_truth


# ------------------------------------------------------------ the file itself


def check_structure(
    truth: dict, where: str, classes: Sequence[str]
) -> list[Problem]:
    """Find what the data set class or the metric would stumble over.

    Args:
        truth (dict): Content of the file.
        where (str): Path of the file.
        classes (Sequence[str]): Names of the classes of the data set.

    Returns:
        list[Problem]: Those with the form of the file.
    """
    problems = []
    for key in ('images', 'categories'):
        if not isinstance(truth.get(key), list):
            what = f'has no list {key!r}'
            fix = 'write the file in the format of COCO'
            problems.append(
                Problem('broken annotations', where, what, '', fix, 'fatal')
            )
    if problems:
        return problems
    images, categories = truth['images'], truth['categories']
    boxes = [
        box for box in truth.get('annotations') or [] if not box.get('ignore')
    ]
    needed = [
        ('image', images, 'id', lambda v: v is not None),
        ('image', images, 'file_name', lambda v: isinstance(v, str)),
        ('image', images, 'width', _is_number),
        ('image', images, 'height', _is_number),
        ('category', categories, 'id', lambda v: v is not None),
        ('category', categories, 'name', lambda v: isinstance(v, str)),
        ('annotation', boxes, 'id', lambda v: v is not None),
        ('annotation', boxes, 'image_id', lambda v: v is not None),
        ('annotation', boxes, 'category_id', lambda v: v is not None),
        ('annotation', boxes, 'bbox', _is_box),
        ('annotation', boxes, 'area', _is_number),
    ]
    for noun, entries, key, is_good in needed:
        bad = [entry for entry in entries if not is_good(entry.get(key))]
        if bad:
            first = str({k: bad[0][k] for k in list(bad[0])[:3]})
            what = (
                f'{len(bad)} of {len(entries)} {_plural(noun)} have no valid '
                f'{key!r}, the first is {first}'
            )
            problems.append(
                Problem(
                    'broken annotations', where, what, '', _FIX[key], 'fatal'
                )
            )
    if problems:
        return problems
    known = dict.fromkeys(image['id'] for image in images)
    if boxes and not any(box['image_id'] in known for box in boxes):
        what = (
            f'no annotation is for an image of the file: image_id is '
            f'{boxes[0]["image_id"]!r}, ids of images are {few([*known])}'
        )
        fix = "write the image's id, as text or number like there"
        problem = Problem('broken annotations', where, what, '', fix, 'fatal')
        return [problem]
    return [
        *_check_ids(images, boxes, where),
        *_check_categories(categories, boxes, where, classes),
    ]


_FIX = {
    **dict.fromkeys(
        ('id', 'file_name', 'image_id', 'category_id', 'name'), ''
    ),
    'width': "write the image's width in pixels",
    'height': "write the image's height in pixels",
    'area': 'write the area of the mask, or width times height of the box, '
    'in pixels',
    'bbox': 'write bbox=[x, y, width, height] in pixels',
}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_box(value: Any) -> bool:
    return (
        isinstance(value, (list, tuple))
        and len(value) == 4
        and all(map(_is_number, value))
    )


def _plural(noun: str) -> str:
    return 'categories' if noun == 'category' else f'{noun}s'


def _check_ids(images, boxes, where) -> Iterator[Problem]:
    twice = _twice(box['id'] for box in boxes)
    if twice:
        what = f'{len(twice)} ids of annotations occur twice: {few(twice)}'
        fix = 'number the annotations of the file anew, from 1'
        yield Problem('ids twice', where, what, '', fix, 'fatal')
    files: dict[Any, set] = {}
    for image in images:
        files.setdefault(image['id'], set()).add(image['file_name'])
    shared = [key for key, names in files.items() if len(names) > 1]
    if shared:
        what = (
            f'{len(shared)} ids of images belong to different files: '
            f'{few(shared)}; only the last file of each is used, with the '
            'boxes of all'
        )
        fix = 'number the images anew, and image_id of the annotations too'
        yield Problem('ids twice', where, what, '', fix, 'fatal')
    elif len(files) < len(images):
        what = f'{len(images) - len(files)} images are listed twice'
        yield Problem('ids twice', where, what, '', 'list each image once')
    listed = {(image['id'], image['file_name']) for image in images}
    twice = _twice(name for _, name in listed)
    if twice:
        what = (
            f'{len(twice)} file names have several ids: {few(twice)}; each '
            'entry is an image of its own, with only its own boxes'
        )
        fix = 'list each file once, with all of its boxes'
        yield Problem('files twice', where, what, '', fix)


def _check_categories(categories, boxes, where, classes) -> Iterator[Problem]:
    used = [c for c in categories if c['name'] in classes]
    names = list(dict.fromkeys(c['name'] for c in used))
    ids = Counter(c['id'] for c in used)
    if len(names) == len(ids) == len(used):
        return
    # mmdet gives a label to each entry of the list.
    labels = {c['id']: i for i, c in enumerate(used)}
    meant = {c['id']: names.index(c['name']) for c in used}
    in_use = {box['category_id'] for box in boxes} & set(labels)
    shifted = [key for key in in_use if labels[key] != meant[key]]
    twice = _twice(c['name'] for c in used) or _twice(c['id'] for c in used)
    what = f'lists categories twice: {few(twice)}'
    if shifted:
        what += (
            ': each entry gets a label, so that the labels of category_id '
            f'{few(shifted)} are shifted'
        )
    fix = 'list each category once, and let its annotations have its id'
    level = 'fatal' if shifted else 'problem'
    yield Problem('categories twice', where, what, '', fix, level)


def _twice(values: Iterable) -> list:
    return [value for value, n in Counter(values).items() if n > 1]


# ------------------------------------------------------------------ its boxes


def check_boxes(
    truth: dict, items: list[dict], with_mask: bool
) -> Iterator[tuple[str, str, str]]:
    """Check each box as it is in the file, before any is dropped.

    Args:
        truth (dict): Content of the file.
        items (list[dict]): Images of the data set that are checked.
        with_mask (bool): Whether the pipeline loads masks.

    Yields:
        tuple[str, str, str]: Kind of problem, path of the image (empty for
        the file itself), and details.
    """
    ids = {category['id'] for category in truth['categories']}
    known = {image['id'] for image in truth['images']}
    images = {item['img_id']: item for item in items}
    for box in truth.get('annotations') or []:
        what = f'annotation {box["id"]}'
        if box['image_id'] not in known:
            what += f' is for image {box["image_id"]}, which does not exist'
            yield 'broken annotations', '', what
            continue
        image = images.get(box['image_id'])
        if image is None or box.get('ignore'):
            continue
        for kind, why in _check_box(box, image, ids, with_mask):
            yield kind, image['img_path'], what + why


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
    elif box['area'] <= 0:
        yield 'box without area', f' has the area {box["area"]}'
    elif w < 1 or h < 1:
        yield 'box without area', f'{what}, less than one'
    elif (
        min(x, y) < -BORDER
        or x + w > width + BORDER
        or y + h > height + BORDER
    ):
        yield 'box outside the image', what
    if with_mask:
        yield from _check_mask(box.get('segmentation'), width, height)


def _check_mask(mask, width: int, height: int) -> Iterator[tuple[str, str]]:
    if not mask:
        yield 'box without mask', ''
    elif isinstance(mask, dict):
        if list(mask.get('size', ())) != [height, width]:
            what = f' has a mask of size {mask.get("size")}, its image '
            yield 'wrong size', f'{what}{[height, width]} (height, width)'
    elif not any(len(p) >= 6 and len(p) % 2 == 0 for p in mask):
        yield 'box without mask', ' has only polygons of less than 3 points'


def are_normalized(truth: dict) -> bool:
    """Whether all boxes of a file are within 0 and 1, as YOLO writes them."""
    boxes = truth.get('annotations') or []
    return bool(boxes) and all(
        0 <= value <= 1.001 for box in boxes for value in box['bbox']
    )


def are_corners(truth: dict, outside: int) -> bool:
    """Whether boxes that leave their image are two corners instead.

    Args:
        truth (dict): Content of the file.
        outside (int): Number of boxes that leave their image.
    """
    boxes = [box['bbox'] for box in truth.get('annotations') or []]
    return outside > 0.1 * len(boxes) and all(
        x < x2 and y < y2 for x, y, x2, y2 in boxes
    )
