# Copyright (c) mmfft authors. All rights reserved.
"""What a check of data finds, and how it is printed."""

from collections import Counter
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

# More classes than this, and only the rarest are printed.
_MOST_CLASSES = 40


class Problem(NamedTuple):
    """Something that would stop a run or spoil it, or is good to know.

    Args:
        kind (str): Kind of problem; problems of a kind are counted together.
        where (str): Path of the file or folder.
        what (str): Details of the problem.
        split (str): ``'train'``, ``'val'``, ``'test'``, or several of them
            that read the same data. Defaults to none.
        fix (str): What to change. Defaults to none.
        level (str): ``'problem'``, ``'fatal'`` if it surely spoils the whole
            run, or ``'note'`` if it may well be intended. Defaults to
            ``'problem'``.
    """

    kind: str
    where: str
    what: str
    split: str = ''
    fix: str = ''
    level: str = 'problem'

    def __str__(self) -> str:
        parts = [self.split, self.where, self.what or self.kind]
        text = ': '.join(part for part in parts if part)
        return f'{text}; {self.fix}' if self.fix else text


class Overview(Counter):
    """Number of images of each split, and what else a table can show.

    Attributes:
        used (Counter): Number of images of each split that the run uses,
            after the data set's filter and its ``indices``.
        classes (dict[str, Counter]): For each split the number of images,
            boxes or pixels of each class.
        unit (str): What is counted: ``'image'``, ``'box'`` or ``'pixel'``.
        notes (list[Problem]): What may well be intended.
    """

    def __init__(self):
        super().__init__()
        self.used = Counter()
        self.classes = {}
        self.unit = 'image'
        self.notes = []


def show_problems(
    images: Counter, problems: list[Problem], most: int = 20
) -> None:
    """Print the problems, under headings of their kinds, and the counts.

    Args:
        images (Counter): Number of images of each split, from
            :func:`check_dataset`.
        problems (list[Problem]): Problems from :func:`check_dataset`.
        most (int): Largest number of problems to print of each kind. Defaults
            to 20.
    """
    console = Console(soft_wrap=True, highlight=False, markup=False)
    notes = getattr(images, 'notes', [])
    kinds = Counter(problem.kind for problem in problems)
    for kind, count in kinds.items():
        console.print(f'\n{kind}: {count}')
        these = [problem for problem in problems if problem.kind == kind]
        for problem in these[:most]:
            console.print(
                f'  {problem.split}: {problem.where}: {problem.what}'
            )
        if count > most:
            console.print(f'  ... and {count - most} more')
        for fix in dict.fromkeys(p.fix for p in these[:most] if p.fix):
            console.print(f'  -> {fix}')
    if notes:
        console.print('\nnotes (no problem if intended):')
    for note in notes:
        console.print(f'  {note}')
    used = getattr(images, 'used', images)
    table = Table('split', 'images', 'used', 'problems')
    by_split = Counter(problem.split for problem in problems)
    for split in dict.fromkeys([*images, *by_split]):
        numbers = images[split], used[split], by_split[split]
        table.add_row(split, *map(str, numbers))
    console.print(table)
    if isinstance(images, Overview):
        _show_classes(console, images)


def _show_classes(console: Console, images: Overview) -> None:
    classes = images.classes
    total = sum(classes.values(), Counter())
    names = list(dict.fromkeys(n for c in classes.values() for n in c))
    if not names:
        return
    units = 'boxes' if images.unit == 'box' else f'{images.unit}s'
    title = f'{units} of each class'
    if len(names) > _MOST_CLASSES:
        names = sorted(names, key=total.__getitem__)[:_MOST_CLASSES]
        title = f'{title}, the {_MOST_CLASSES} rarest'
    table = Table('class', *classes, title=title)
    for name in names:
        table.add_row(name, *(str(c[name]) for c in classes.values()))
    console.print(table)
