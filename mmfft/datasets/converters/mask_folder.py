# Copyright (c) mmfft authors. All rights reserved.
"""Masks of instances as pictures."""

from pathlib import Path

import numpy as np
from PIL import Image

from .source import Item, Picture, Source, pictures_in, split_of


def read_mask_folder(root: Path, name: str = 'object') -> Source:
    """Read one mask an instance, or one picture of all instances.

    Either each image has a folder with ``images/NAME.png`` and one picture an
    instance in ``masks/``, as in the Data Science Bowl of 2018
    (https://www.kaggle.com/c/data-science-bowl-2018); folders in ``masks/``
    are classes. Or ``images/NAME.png`` has one ``masks/NAME.png``, in which
    each instance has a number and 0 is background.

    Args:
        root (Path): Folder of the data set.
        name (str): Name of the class, where folders do not name classes.
            Defaults to ``'object'``.

    Returns:
        Source: Pictures.
    """
    source = Source([])
    for path in pictures_in(root):
        if path.parent.name != 'images':
            continue
        top = path.parents[1]
        shared = [
            file
            for file in pictures_in(top / 'masks')
            if file.stem == path.stem and file.parent == top / 'masks'
        ]
        alone = len(list(path.parent.iterdir())) == 1
        if shared and not alone:
            items = _numbered(shared[0], name, source)
        elif alone:
            items = []
            for file in pictures_in(top / 'masks'):
                parts = file.relative_to(top / 'masks').parts
                label = parts[0] if parts[1:] else name
                items += _one(file, label, source)
        else:
            source.wrong('no mask', path, 'kept as a picture without objects')
            items = []
        source.pictures.append(Picture(path, items, split_of(path, root)))
    return source


def _read(file: Path, source: Source) -> np.ndarray | None:
    try:
        with Image.open(file) as image:
            colour = image.mode not in ('1', 'L', 'P') and image.mode[0] != 'I'
            pixels = np.asarray(image.convert('RGB') if colour else image)
    except (OSError, ValueError) as error:
        source.wrong('cannot be read', file, f'{error}: left out')
        return None
    if not colour:
        return pixels.astype(np.int32)
    red, green, blue = np.moveaxis(pixels.astype(np.int32), 2, 0)
    return red << 16 | green << 8 | blue


def _one(file: Path, name: str, source: Source) -> list[Item]:
    pixels = _read(file, source)
    return [] if pixels is None else [Item(name, mask=pixels > 0)]


def _numbered(file: Path, name: str, source: Source) -> list[Item]:
    pixels = _read(file, source)
    if pixels is None:
        return []
    numbers = np.unique(pixels)
    return [Item(name, mask=pixels == n) for n in numbers[numbers > 0]]
