# Copyright (c) mmfft authors. All rights reserved.
"""Annotated pictures as the readers of all forms return them."""

import math
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from ..check.problems import Problem
from ..own_data import PICTURES

# Corners of the polygon that takes the place of a circle.
CORNERS = 32


@dataclass
class Item:
    """An object in a picture: a box, polygons or a mask.

    Args:
        name (str): Name of its class.
        box (tuple[float, ...], optional): Edges ``(x1, y1, x2, y2)`` in
            pixels. Defaults to none: it follows from the others.
        polygons (list[np.ndarray]): Corners ``(N, 2)`` of its parts. Defaults
            to none.
        mask (np.ndarray, optional): Its pixels ``(H, W)``, or those of a part
            of the picture. Defaults to none.
        corner (tuple[int, int]): Pixel ``(x, y)`` at which the mask begins.
            Defaults to ``(0, 0)``.
        is_crowd (bool): Whether it counts neither as found nor as missed.
            Defaults to False.
    """

    name: str
    box: tuple[float, ...] | None = None
    polygons: list[np.ndarray] = field(default_factory=list)
    mask: np.ndarray | None = None
    corner: tuple[int, int] = (0, 0)
    is_crowd: bool = False


@dataclass
class Picture:
    """A picture with its objects.

    Args:
        path (Path): Path of the picture, which may not exist.
        items (list[Item]): Its objects.
        split (str): ``'train'``, ``'val'``, ``'test'`` or nothing. Defaults to
            nothing.
        size (tuple[int, int], optional): Size ``(W, H)`` that the annotations
            say. Defaults to none.
        is_relative (bool): Whether coordinates are fractions of the size.
            Defaults to False.
    """

    path: Path
    items: list[Item]
    split: str = ''
    size: tuple[int, int] | None = None
    is_relative: bool = False


@dataclass
class Source:
    """What a reader returns.

    Args:
        pictures (list[Picture]): Pictures, also those without an object.
        names (list[str]): Names of the classes if their order is known.
            Defaults to none: they are sorted.
        problems (list[Problem]): What could not be read. Defaults to none.
        said (list[str]): What was found and decided, a line each. Defaults to
            none.
    """

    pictures: list[Picture]
    names: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def wrong(self, kind: str, where: Path | str, what: str) -> None:
        """Note a problem."""
        self.problems.append(Problem(kind, str(where), what))

    def leave_out_others(self, pictures: Iterable[Path]) -> None:
        """Note those of some pictures that no annotation belongs to."""
        annotated = {picture.path for picture in self.pictures}
        for path in pictures:
            if path not in annotated:
                self.wrong('no annotation', path, 'left out')


class Finder:
    """Finds the pictures that annotations name.

    Folders have often been moved or renamed since, so that the name of the
    file counts more than its path.

    Args:
        folder (Path): Folder of the data set.
    """

    def __init__(self, folder: Path):
        self.pictures = pictures_in(folder)
        self.by_name = {file.name: file for file in reversed(self.pictures)}
        self.by_stem = {file.stem: file for file in reversed(self.pictures)}
        self._places = {file.with_suffix(''): file for file in self.pictures}

    def beside(self, file: Path) -> Path | None:
        """Path of the picture that is called as its annotations are."""
        return self._places.get(file.with_suffix(''))

    def find(self, name: str, folder: Path) -> Path:
        """Path of a picture, beside its annotations or anywhere else.

        Args:
            name (str): Name or path that annotations say.
            folder (Path): Folder of the annotations.
        """
        name = name.strip().replace('\\', '/')
        short = name.rsplit('/', 1)[-1]
        beside = (folder / name, folder / short)
        found = next((path for path in beside if path.is_file()), None)
        return found or self.by_name.get(short) or folder / short


def corners(points: Iterable[Sequence[float]]) -> np.ndarray:
    """Points as an array ``(N, 2)``."""
    return np.array([tuple(p) for p in points], float).reshape(-1, 2)


def ellipse(
    x: float, y: float, radius_x: float, radius_y: float, angle: float = 0
) -> np.ndarray:
    """Corners of a polygon around an ellipse turned by an angle in radians."""
    turn = np.arange(CORNERS) * (2 * math.pi / CORNERS)
    along, across = radius_x * np.cos(turn), radius_y * np.sin(turn)
    cos, sin = math.cos(angle), math.sin(angle)
    return np.stack(
        [x + along * cos - across * sin, y + along * sin + across * cos], 1
    )


def pictures_in(folder: Path) -> list[Path]:
    """Paths of all pictures below a folder, sorted."""
    return sorted(
        file
        for file in folder.rglob('*')
        if file.suffix.lower() in PICTURES and file.is_file()
    )


def split_of(path: Path, root: Path) -> str:
    """Split that a folder in a path names, between a root and a file."""
    if not path.is_relative_to(root):
        return ''
    named = dict(train='train', val='val', valid='val', validation='val')
    named |= dict(training='train', test='test')
    parts = path.relative_to(root).parts[:-1]
    return next((named[part] for part in parts if part in named), '')


def upright_size(path: Path) -> tuple[int, int]:
    """Size ``(W, H)`` of a picture as it is trained on, turned by its EXIF."""
    with Image.open(path) as picture:
        turned = picture.getexif().get(ExifTags.Base.Orientation, 1) >= 5
        return picture.size[::-1] if turned else picture.size


def link_or_copy(path: Path, target: Path) -> None:
    """Bring a file to another place, without taking space if possible.

    Args:
        path (Path): File, which stays.
        target (Path): New path, whose folder is made.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path.resolve(), target)
    except OSError:  # another disk, or a file system without links
        shutil.copyfile(path, target)
