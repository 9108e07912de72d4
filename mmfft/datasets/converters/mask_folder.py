# Copyright (c) mmfft authors. All rights reserved.
"""Masks of instances as pictures."""

from pathlib import Path

import numpy as np
from PIL import Image

from .source import Item, Picture, Source, pictures_in, split_of

# Compression spoils these masks: their background is not quite 0.
_JPEG = ('.jpg', '.jpeg')


def read_mask_folder(root: Path, name: str = 'object') -> Source:
    """Read one mask an instance, or one picture of all instances.

    Either each image has a folder with ``images/NAME.png`` and one picture an
    instance in ``masks/``, as in the Data Science Bowl of 2018
    (https://www.kaggle.com/c/data-science-bowl-2018). Or ``images/NAME.png``
    has one ``masks/NAME.png``, in which each instance has a number or colour
    and 0 is background. In both, folders in ``masks/`` are classes.

    Args:
        root (Path): Folder of the data set.
        name (str): Name of the class, where folders do not name classes.
            Defaults to ``'object'``.

    Returns:
        Source: Pictures.
    """
    source = Source([])
    tops: dict[Path, list[Path]] = {}
    for path in pictures_in(root):
        folders = path.relative_to(root).parts[:-1]
        if 'images' in folders:
            above = folders[: folders.index('images')]
            tops.setdefault(root.joinpath(*above), []).append(path)
    for top, paths in tops.items():
        masks = _by_picture(top, paths, name)
        for path in paths:
            if masks is None or path not in masks:
                source.wrong('no mask', path, 'left out')
                continue
            picture = Picture(path, [], split_of(path, root))
            for file, label, is_numbered in masks[path]:
                _read_masks(file, label, is_numbered, picture, source)
            source.pictures.append(picture)
        used = {file for of in (masks or {}).values() for file, *_ in of}
        for file in pictures_in(top / 'masks'):
            if file not in used:
                source.wrong('missing picture', file, 'mask left out')
    return source


def _by_picture(
    top: Path, paths: list[Path], name: str
) -> dict[Path, list[tuple[Path, str, bool]]] | None:
    """Masks of each picture: file, class, and whether instances are numbered.

    Returns:
        dict[Path, list] | None: None without a folder of masks.
    """
    folder = top / 'masks'
    if not folder.is_dir():
        return None
    by_key = {
        path.relative_to(top / 'images').with_suffix('').as_posix(): path
        for path in paths
    }
    masks: dict[Path, list] = {}
    files = pictures_in(folder)
    for file in files:
        inside = file.relative_to(folder).with_suffix('')
        first, *rest = inside.parts
        if inside.as_posix() in by_key:
            masks.setdefault(by_key[inside.as_posix()], []).append(
                (file, name, True)
            )
        elif rest and '/'.join(rest) in by_key:
            masks.setdefault(by_key['/'.join(rest)], []).append(
                (file, first, True)
            )
    if len(paths) > 1 or (
        files and sum(map(len, masks.values())) == len(files)
    ):
        return masks
    alone = []
    for file in files:
        parts = file.relative_to(folder).parts
        alone.append((file, parts[0] if parts[1:] else name, False))
    return {paths[0]: alone}


def _read_masks(
    file: Path, name: str, is_numbered: bool, picture: Picture, source: Source
) -> None:
    """Add the instances of a mask to a picture."""
    if is_numbered and file.suffix.lower() in _JPEG:
        what = 'JPEG does not keep numbers: save as PNG: left out'
        source.wrong('cannot be read', file, what)
        return
    try:
        pixels = _read(file)
    # Pillow raises what its decoders raise.
    except Exception as error:
        what = f'{type(error).__name__}: {error}: left out'
        source.wrong('cannot be read', file, what)
        return
    size = pixels.shape[::-1]
    picture.size = picture.size or size
    if size != picture.size:
        what = '{}x{}, another mask {}x{}: left out'.format(
            *size, *picture.size
        )
        source.wrong('another size', file, what)
        return
    if not is_numbered:
        pixels = pixels > (127 if file.suffix.lower() in _JPEG else 0)
    for number in np.unique(pixels[pixels > 0]):
        picture.items.append(_cropped(pixels == number, name))
    if not pixels.any() and not is_numbered:
        source.wrong('no area', file, 'an empty mask: left out')


def _read(file: Path) -> np.ndarray:
    with Image.open(file) as image:
        if image.mode in ('1', 'L', 'P') or image.mode[0] == 'I':
            return np.asarray(image).astype(np.int32)
        pixels = np.asarray(image.convert('RGB')).astype(np.int32)
    red, green, blue = np.moveaxis(pixels, 2, 0)
    # In a JPEG, the largest of them is the one to compare with.
    if file.suffix.lower() in _JPEG:
        return pixels.max(2)
    return red << 16 | green << 8 | blue


def _cropped(mask: np.ndarray, name: str) -> Item:
    """An object, of which only what is around it is kept in memory."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    top, left = int(rows[0]), int(columns[0])
    part = mask[top : rows[-1] + 1, left : columns[-1] + 1]
    return Item(name, mask=part.copy(), corner=(left, top))
