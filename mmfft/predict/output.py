# Copyright (c) mmfft authors. All rights reserved.
"""The folder with drawn pictures, drawn videos and predictions."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ..engine.json_files import write_json
from ..errors import ConfigError
from .coco import CocoPredictions
from .sources import PICTURES, Source

# How pictures are written. PNG by Pillow's own level takes longer than a small
# model, for a tenth less of space.
OPTIONS = {
    '.jpeg': dict(quality=95),
    '.jpg': dict(quality=95),
    '.png': dict(compress_level=3),
    '.webp': dict(quality=95),
}


class Output:
    """A folder with ``predictions.json``, and with pictures below ``vis``.

    Nothing is changed before the first thing is saved.

    Args:
        folder (Path): Path of the folder, which may be missing.
        overwrite (bool): Whether both are deleted if they exist. Defaults to
            False.
        pictures (bool): Whether pictures are saved. Defaults to True.
        json (bool): Whether predictions are saved. Defaults to True.

    Raises:
        ConfigError: If one of them exists, and must not be deleted, or if the
            folder cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        overwrite: bool = False,
        pictures: bool = True,
        json: bool = True,
    ) -> None:
        self.pictures, self.json = folder / 'vis', folder / 'predictions.json'
        self.saves_pictures, self.saves_json = pictures, json
        self._old: list[Path] = []
        if pictures or json:
            _require_writable(folder)
            both = self.pictures, self.json
            self._old = [path for path in both if path.exists()]
        if self._old and not overwrite:
            raise ConfigError(
                f'--out-dir: {str(self._old[0])!r} exists; give another '
                'folder, or --overwrite to delete it'
            )

    def check(self, sources: Sequence[Source]) -> None:
        """See that no source would be deleted.

        Args:
            sources (Sequence[Source]): Sources, before they are read.

        Raises:
            ConfigError: If one would be.
        """
        inside = self.pictures.resolve()
        for source in sources if self._old else ():
            path = source.source
            if isinstance(path, Path) and inside in path.resolve().parents:
                raise ConfigError(
                    f'--overwrite would delete the input {str(path)!r}; give '
                    'another --out-dir'
                )

    def save_picture(self, name: str, picture: np.ndarray) -> None:
        """Write a picture.

        Args:
            name (str): Path of the original, relative to its folder.
            picture (np.ndarray): Picture, RGB uint8 ``(H, W, 3)``.
        """
        path = self._path(name, PICTURES, '.png')
        options = OPTIONS.get(path.suffix.lower(), {})
        Image.fromarray(picture).save(path, **options)

    @contextmanager
    def video(self, name: str, rate: float) -> Iterator['_Writer']:
        """Write a video; what was written is kept after an error, too.

        Args:
            name (str): Path of the original, relative to its folder.
            rate (float): Frames a second.

        Yields:
            _Writer: Object with ``write(picture)``.
        """
        writer = _Writer(self._path(name, ('.mp4',), '.mp4'), rate)
        try:
            yield writer
        finally:
            writer.close()

    def save_json(self, predictions: CocoPredictions) -> None:
        """Write ``predictions.json``, whole or not at all.

        Args:
            predictions (CocoPredictions): What was predicted so far.
        """
        self._begin()
        write_json(self.json, predictions.content(), indent=None)

    def _path(self, name: str, kept: tuple[str, ...], ending: str) -> Path:
        self._begin()
        path = self.pictures / name
        if path.suffix.lower() not in kept:
            path = path.with_name(path.name + ending)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _begin(self) -> None:
        for path in self._old:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        self._old = []


def _require_writable(folder: Path) -> None:
    above = folder.absolute()
    while not above.exists():
        above = above.parent
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise ConfigError(
            f'--out-dir: {str(folder)!r} cannot be written, since '
            f'{str(above)!r} is no folder or belongs to somebody else'
        )


class _Writer:
    """An mp4 file, which has another name until it is finished."""

    def __init__(self, path: Path, rate: float) -> None:
        self.path, self.rate = path, rate
        self._unfinished = path.with_name(f'.{path.name}')
        self._writer: cv2.VideoWriter | None = None

    def write(self, picture: np.ndarray) -> None:
        """Append a picture, RGB uint8 ``(H, W, 3)``."""
        if self._writer is None:
            height, width = picture.shape[:2]
            self._writer = cv2.VideoWriter(
                str(self._unfinished),
                cv2.VideoWriter_fourcc(*'mp4v'),
                self.rate,
                (width, height),
            )
            if not self._writer.isOpened():
                self._writer = None
                raise ConfigError(
                    f'{str(self.path)!r} cannot be written: this OpenCV has '
                    'no encoder for mp4; draw nothing with --no-pictures'
                )
        self._writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.release()
            self._unfinished.replace(self.path)
