# Copyright (c) mmfft authors. All rights reserved.
"""Images and label images, read as the pipeline of a config reads them."""

import io
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from copy import copy
from functools import partial

import numpy as np
from mmengine.fileio import get
from mmengine.registry import TRANSFORMS
from PIL import Image
from rich.progress import track

from ...openmmlab.scopes import class_name
from . import segmentation
from .parts import Part
from .problems import Problem

# How files of a kind start, and how they end if they are complete.
_ENDS = {b'\xff\xd8': b'\xff\xd9', b'\x89PNG': b'IEND\xaeB`\x82'}


def check_images(
    part: Part, items: list[dict], nproc: int
) -> tuple[list[Problem], Counter]:
    """Read images, and label images if there are any.

    Args:
        part (Part): Data set.
        items (list[dict]): Its images that are to be read.
        nproc (int): Number of processes that read.

    Returns:
        tuple[list[Problem], Counter]: Problems with the images, and the
        number of pixels of each value of the label images.
    """
    # Data sets that come as one file have already read their images.
    items = [_slim(i) for i in items if isinstance(i.get('img_path'), str)]
    problems, values = [], Counter()
    if not items:
        return problems, values
    load_labels = _label_step(part)
    if part.unit == 'pixel' and load_labels is None:
        what = 'label images: no step of the pipeline loads them'
        problems.append(
            Problem('not checked', part.folder, what, level='note')
        )
    check = partial(
        _check_item,
        read=_ImageReader(_loading_steps(part, items[0])),
        load_labels=load_labels,
        num_classes=len(part.classes or ()),
        ignored=getattr(part.dataset, 'ignore_index', 255),
    )
    for found, seen in _in_parallel(check, items, part.split, nproc):
        problems += found
        values.update(seen)
    return problems, values


def _slim(item: dict) -> dict:
    """An item without its boxes and masks, which loading does not need."""
    return {k: v for k, v in item.items() if k != 'instances'}


def _in_parallel(
    check: Callable, items: list[dict], split: str, nproc: int
) -> Iterator[tuple[list[Problem], Counter]]:
    bar = partial(track, description=split, total=len(items))
    if nproc == 1:
        yield from bar(map(check, items))
        return
    with ProcessPoolExecutor(nproc) as pool:
        yield from bar(pool.map(check, items, chunksize=16))


# --------------------------------------------------------------- the pipeline


def _loading_steps(part: Part, item: dict) -> list:
    """Steps of the pipeline up to that which loads the image."""
    steps = []
    results = copy(item)
    for cfg in part.cfg.get('pipeline') or []:
        step = TRANSFORMS.build(cfg)
        steps.append(step)
        try:
            results = step(results)
        # The image may be broken: then this step is the one that reads it.
        except Exception:
            return steps
        if results is None or 'img' in results:
            return steps
    backend_args = getattr(part.dataset, 'backend_args', None)
    loader = dict(type='LoadImageFromFile', backend_args=backend_args)
    return [TRANSFORMS.build(loader)]


def _label_step(part: Part) -> Callable | None:
    """Step of the pipeline that loads label images."""
    if part.unit != 'pixel':
        return None
    for cfg in part.cfg.get('pipeline') or []:
        if 'Annotation' in class_name(cfg):
            return TRANSFORMS.build(cfg)
    return None


class _ImageReader:
    """Reads an image; returns its size or the problem with it."""

    def __init__(self, steps: list):
        self.steps = steps

    def __call__(
        self, item: dict
    ) -> tuple[tuple[int, int] | None, list[Problem]]:
        path = item['img_path']
        try:
            results = copy(item)
            for step in self.steps:
                results = step(results)
                if results is None:
                    raise ValueError('the pipeline leaves it out')
            height, width = results['img'].shape[:2]
            self._see_that_it_is_complete(path)
        # Loaders raise errors of any kind.
        except Exception as error:
            return None, [_unread(path, error)]
        return (width, height), []

    def _see_that_it_is_complete(self, path: str) -> None:
        """Decode with Pillow what ends too early.

        OpenCV may fill a truncated image with grey.
        """
        step = self.steps[-1]
        if not hasattr(step, 'backend_args'):
            return
        data = get(path, backend_args=step.backend_args)
        for start, end in _ENDS.items():
            if data.startswith(start) and not data.endswith(end):
                _decode(data)


def _decode(data: bytes) -> None:
    most, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            with Image.open(io.BytesIO(data)) as image:
                image.load()
    finally:
        Image.MAX_IMAGE_PIXELS = most


def _unread(path: str, error: Exception) -> Problem:
    what = f'{type(error).__name__}: {error}'
    # Pillow raises OSError for what it cannot decode, without a number.
    if isinstance(error, OSError) and error.errno is not None:
        return Problem('missing file', path, what)
    if isinstance(error, ImportError):
        fix = 'install it, or write another imdecode_backend'
        return Problem('missing decoder', path, what, '', fix)
    if isinstance(error, Image.DecompressionBombError):
        fix = "write imdecode_backend='cv2' into the step that loads it"
        return Problem('unreadable image', path, what, '', fix)
    return Problem('unreadable image', path, what)


# ------------------------------------------------------------------ one image


def _check_item(
    item: dict,
    read: _ImageReader,
    load_labels: Callable | None,
    num_classes: int,
    ignored: int,
) -> tuple[list[Problem], dict[int, int]]:
    size, problems = read(item)
    expected = item.get('width'), item.get('height')
    if size and None not in expected and size != expected:
        what = f'is {size}, annotated as {expected} (width, height)'
        fix = 'correct the annotation, or use the image that was annotated'
        path = item['img_path']
        problems.append(Problem('wrong size', path, what, '', fix))
    if load_labels is None or not item.get('seg_map_path'):
        return problems, {}
    found, values = _check_labels(
        item, size, load_labels, num_classes, ignored
    )
    return problems + found, values


def _check_labels(
    item, size, load_labels, num_classes, ignored
) -> tuple[list[Problem], dict[int, int]]:
    path = item['seg_map_path']
    try:
        # As in training: label 0 ignored, classes renumbered, ...
        labels = load_labels(copy(item) | dict(seg_fields=[]))['gt_seg_map']
        wide = _widest(path, load_labels)
    except Exception as error:
        return [_unread(path, error)], {}
    problems = []
    if wide > 255:
        what = f'has values up to {wide:g}, of which mmseg keeps 8 bits'
        fix = 'save labels of 0 to 255 with 8 bits'
        problems.append(Problem('label out of range', path, what, '', fix))
    if labels.ndim != 2:
        what = f'{labels.shape} instead of one label for each pixel'
        fix = 'save label images with one channel, whose values are labels'
        problem = Problem('broken annotations', path, what, '', fix)
        return [*problems, problem], {}
    label_size = labels.shape[::-1]
    if size and size != label_size:
        what = f'is {label_size}, its image {size} (width, height)'
        problems.append(Problem('wrong size', path, what))
    found, numbers = np.unique(labels, return_counts=True)
    counts = dict(zip(found.tolist(), numbers.tolist(), strict=True))
    values = sorted(set(counts) - {ignored})
    if not values:
        problems.append(Problem('empty labels', path, 'no pixel has a label'))
    wrong = [value for value in values if num_classes and value >= num_classes]
    if wrong:
        what = f'labels {wrong} of {num_classes} classes, {ignored} ignored'
        fix = segmentation.fix_of(wrong, num_classes, values[0], ignored)
        problems.append(Problem('label out of range', path, what, '', fix))
    return problems, counts


def _widest(path: str, load_labels: Callable) -> float:
    """Largest value of a label image that has more than 8 bits, or 0."""
    if not hasattr(load_labels, 'imdecode_backend'):
        return 0
    data = get(path, backend_args=load_labels.backend_args)
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.mode[0] in 'IF':
                return float(np.asarray(image).max())
    # Pillow need not know it: the pipeline's own loader does.
    except Exception:
        return 0
    return 0
