# Copyright (c) mmfft authors. All rights reserved.
"""Labels of whole images."""

import math
from collections.abc import Iterator

import numpy as np

from .names import few
from .parts import Part
from .problems import Problem


def look(part: Part, num_classes: int | None) -> Iterator[Problem]:
    """Check and count the labels of images.

    Args:
        part (Part): Data set; counts and names of its labels are set.
        num_classes (int, optional): Number of classes of the model.

    Yields:
        Problem: Those with the labels.
    """
    folders = getattr(part.dataset, 'folder_to_idx', None)
    classes = part.classes
    if folders:
        part.names, part.by_name = list(folders), True
        yield from _check_names(part, list(folders))
    elif classes:
        part.names = list(classes)
    sizes = (num_classes, part.names and len(part.names))
    limit = min((n for n in sizes if n), default=math.inf)
    wrong = []
    for item in part.items:
        labels = np.atleast_1d(item.get('gt_label', []))
        # Some data sets have labels of several tasks, or texts.
        for label in labels.tolist() if labels.dtype.kind in 'iu' else ():
            part.counts[label] += 1
            if not 0 <= label < limit:
                wrong.append((item.get('img_path', part.folder), label))
    fix = (
        f'labels are 0 to {limit - 1}; num_classes of the head is their number'
    )
    if wrong and not folders and min(part.counts) == 1:
        fix = 'the labels start at 1: subtract 1 from each'
    level = 'fatal' if part.is_in('train') else 'problem'
    for where, label in wrong:
        what = f'label {label} of {limit} classes'
        yield Problem('label out of range', where, what, '', fix, level)


def _check_names(part: Part, folders: list[str]) -> Iterator[Problem]:
    classes = list(part.classes or folders)
    if classes != folders and sorted(classes) == sorted(folders):
        yield Problem(
            'other classes',
            part.folder,
            f'the labels follow the sorted folders, {few(folders)}, but '
            f'classes names them {few(classes)}',
            fix='write the classes in the order of the sorted folders',
        )
    hidden = [name for name in folders if name.startswith(('.', '__'))]
    if hidden:
        yield Problem(
            'other classes',
            part.folder,
            f'the folders {few(hidden)} count as classes',
            fix='remove these folders',
        )
