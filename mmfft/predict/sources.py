# Copyright (c) mmfft authors. All rights reserved.
"""Find what to predict for: pictures, videos and cameras."""

import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..errors import ConfigError
from .reading import UnreadableError

# Looked for in folders, and written. Any file that is named is tried.
PICTURES = ('.bmp', '.jpeg', '.jpg', '.png', '.ppm', '.tif', '.tiff', '.webp')
VIDEOS = ('.avi', '.m4v', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg', '.webm')
# Frames a second of a camera that does not tell them.
CAMERA_RATE = 25.0


@dataclass(frozen=True)
class Picture:
    """A file with an image.

    Args:
        source (Path): Path of the file.
        name (str): Path below the folder that all files are in, with ``/``.
    """

    source: Path
    name: str


class Video:
    """Frames of a file or a camera, read one by one.

    Args:
        source (Path | int): Path of the file, or number of the camera.
        name (str): Path below the folder that all files are in, with ``/``,
            or name of the camera.

    Attributes:
        rate (float): Frames a second.
        count (int | None): Number of frames, as the file tells it; None if it
            does not, or for a camera.

    Raises:
        UnreadableError: If it cannot be opened, or has no frame.
    """

    def __init__(self, source: Path | int, name: str) -> None:
        self.name = name
        is_camera = isinstance(source, int)
        self._capture = cv2.VideoCapture(source if is_camera else str(source))
        is_read, self._first = self._capture.read()
        if not is_read:
            self.close()
            raise UnreadableError(
                f'camera {source} cannot be opened: there is none, it is in '
                'use, or this user may not use it'
                if is_camera
                else f'{name!r} is not a video that can be read'
            )
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = rate if rate > 0 else CAMERA_RATE
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.count = int(count) if count > 0 and not is_camera else None

    def frames(self) -> Iterator[tuple[int, np.ndarray]]:
        """Read the frames.

        Yields:
            tuple[int, np.ndarray]: Number of the frame from 0, and its image,
            RGB uint8 ``(H, W, 3)``.
        """
        is_read, frame, number = True, self._first, 0
        while is_read:
            yield number, cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
            is_read, frame = self._capture.read()
            number += 1

    def close(self) -> None:
        """Give the file or the camera back."""
        self._capture.release()


@dataclass(frozen=True)
class VideoSource:
    """A file or a camera that has not been opened yet.

    Args:
        source (Path | int): Path of the file, or number of the camera.
        name (str): Path below the folder that all files are in, with ``/``,
            or name of the camera.
    """

    source: Path | int
    name: str

    def open(self) -> Video:
        """Open it.

        Raises:
            UnreadableError: See :class:`Video`.
        """
        return Video(self.source, self.name)


Source = Picture | VideoSource


def find_sources(
    inputs: Sequence[str], without: Path | None = None
) -> tuple[Path | None, list[Source]]:
    """Find files by what a user gives.

    Args:
        inputs (Sequence[str]): Paths of pictures, of videos, and of folders,
            in which pictures are looked for in natural order, at any depth.
            ``-`` stands for the paths on standard input, one a line, or with
            a null character after each, as ``find -print0`` writes them.
        without (Path, optional): Folder in which nothing is looked for, such
            as that of the output. Defaults to none.

    Returns:
        tuple[Path | None, list[Source]]: The folder below which the names of
        all files begin, the deepest that contains them all, or None if no
        path was given; and each file once, in the order given.

    Raises:
        ConfigError: If a path does not exist, or a folder has no picture.
    """
    paths = [Path(one) for one in _listed(inputs)]
    missing = [str(path) for path in paths if not path.exists()]
    if missing:
        more = f' and {len(missing) - 3} more' if len(missing) > 3 else ''
        named = ', '.join(map(repr, missing[:3]))
        raise ConfigError(f'INPUT: {named}{more} does not exist')
    if not paths:
        return None, []
    tops = [path if path.is_dir() else path.parent for path in paths]
    top = Path(os.path.commonpath([os.path.abspath(one) for one in tops]))
    found: dict[str, Source] = {}
    for path in paths:
        files = _pictures_in(path, without) if path.is_dir() else [path]
        if not files:
            raise ConfigError(
                f'INPUT: folder {str(path)!r} contains no picture '
                f'({", ".join(PICTURES)})'
            )
        for file in files:
            name = Path(os.path.abspath(file)).relative_to(top).as_posix()
            kind = VideoSource if file.suffix.lower() in VIDEOS else Picture
            found.setdefault(name, kind(file, name))
    return top, list(found.values())


def _listed(inputs: Sequence[str]) -> Iterator[str]:
    for one in inputs:
        if one != '-':
            yield one
            continue
        text = sys.stdin.read()
        ends = '\0' if '\0' in text else '\n'
        yield from filter(
            None, (line.rstrip('\r') for line in text.split(ends))
        )


def _pictures_in(folder: Path, without: Path | None) -> list[Path]:
    found, seen = [], set()
    for here, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(here)
        # A link may lead back to a folder above it.
        if real in seen or (without and real == os.path.realpath(without)):
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith('.')]
        found += [
            Path(here, name)
            for name in files
            if name.lower().endswith(PICTURES) and not name.startswith('.')
        ]
    return sorted(found, key=_natural)


def _natural(path: Path) -> list[list]:
    """Key for an order in which 2.png is before 10.png."""
    return [
        [
            int(part) if part.isdecimal() else part.lower()
            for part in re.split(r'(\d+)', name)
        ]
        for name in path.parts
    ]
