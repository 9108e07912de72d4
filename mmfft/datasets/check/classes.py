# Copyright (c) mmfft authors. All rights reserved.
"""Whether the splits agree on the classes, and which are seen in each."""

from collections import Counter
from collections.abc import Iterator

from .names import few, moved
from .parts import Part
from .problems import Problem


def compare(parts: list[Part]) -> Iterator[Problem]:
    """Compare the classes of each data set with those of training.

    Args:
        parts (list[Part]): Data sets of which the labels are known.

    Yields:
        Problem: Where they differ.
    """
    # Open vocabularies learn from the names themselves.
    named = [
        part
        for part in parts
        if part.names and not part.cfg.get('return_classes')
    ]
    first = next((part for part in named if part.is_in('train')), None)
    if first is None:
        return
    for part in named:
        ours, theirs = list(part.names), list(first.names)
        # ImageNet has names of folders and of classes for the same labels.
        alike = part.by_name == first.by_name or {*ours} & {*theirs}
        if ours != theirs and alike:
            yield _difference(first, part)._replace(split=part.split)


def _difference(first: Part, part: Part) -> Problem:
    ours, theirs = list(part.names), list(first.names)
    what = f'the labels are {few(ours)}, but {few(theirs)} in training'
    shifted = moved(ours, theirs)
    if shifted:
        name = shifted[0]
        what += (
            f': label {ours.index(name)} is {name!r} here, and '
            f'{theirs[ours.index(name)]!r} there'
            if ours.index(name) < len(theirs)
            else f': {name!r} has another label'
        )
    lost = [name for name in theirs if name not in ours]
    new = [name for name in ours if name not in theirs]
    if hasattr(part.dataset, 'folder_to_idx'):
        # Each folder is a class, whether it has images or not.
        makes = []
        if any(str(name).startswith('.') for name in lost):
            makes = ['remove the hidden folders of training']
        elif lost:
            makes = [f'make an empty folder for each of {few(lost)}']
        removes = [f'remove the folders of {few(new)}'] if new else []
        fix = ' and '.join([*makes, *removes])
    else:
        fix = (
            'give all splits the same classes in the same order, in metainfo '
            'and in the annotation files'
        )
    if shifted:
        spoils = part.by_name and not part.is_in('train')
        level = 'fatal' if spoils else 'problem'
    else:
        # Labels that only training has, after all others, are in order.
        level = 'problem' if new else 'note'
    return Problem('other classes', part.where, what, '', fix, level)


def unseen(parts: list[Part], num_classes: int | None) -> Iterator[Problem]:
    """Find classes that a loader never shows.

    Args:
        parts (list[Part]): Data sets of which the labels are known.
        num_classes (int, optional): Number of classes of the model.

    Yields:
        Problem: Those of training; those of validation are notes.
    """
    done = []
    for loader in ('train', 'val', 'test'):
        these = [part for part in parts if part.is_in(loader)]
        counts = sum((part.counts for part in these), Counter())
        # Test often reads the data of validation.
        if not counts or these in done:
            continue
        done.append(these)
        part = these[0]
        names = part.names or part.classes
        sizes = [n for n in (num_classes, names and len(names)) if n]
        if not sizes:
            continue
        lost = [label for label in range(min(sizes)) if not counts[label]]
        lost_names = [names[label] if names else label for label in lost]
        if loader == 'train' and (part.unit == 'image' or part.classes_given):
            for name in lost_names:
                yield Problem(
                    'empty class',
                    part.where,
                    f'class {name!r} has no {part.unit}',
                    part.split,
                    'add samples of these classes, or leave the classes out',
                )
        elif lost:
            what = (
                f'{len(lost)} of {min(sizes)} classes have no {part.unit}: '
                f'{few(lost_names)}'
            )
            yield Problem(
                'empty class', part.where, what, part.split, '', 'note'
            )


def by_name(part: Part) -> Counter:
    """Counts of a data set by the names of its labels, seen or not."""
    names = part.names or part.classes or ()
    counts = Counter({str(name): 0 for name in names})
    for label, number in sorted(part.counts.items()):
        known = 0 <= label < len(names)
        counts[str(names[label]) if known else f'label {label}'] += number
    return counts
