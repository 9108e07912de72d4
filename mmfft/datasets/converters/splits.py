# Copyright (c) mmfft authors. All rights reserved.
"""Which images are for training and which for validation."""

import random
import re
from collections.abc import Sequence
from pathlib import Path

from ...errors import ConfigError
from ..own_data import PICTURES

_ABSOLUTE = re.compile(r'/|[A-Za-z]:/')


def split(
    names: Sequence[str], fraction: float, seed: int
) -> tuple[list[str], list[str]]:
    """Draw names for validation, whatever their order.

    Args:
        names (Sequence[str]): Different names.
        fraction (float): Fraction for validation, from 0 to 1. Of two names
            or more, each side gets at least one, unless the fraction is 0 or
            1.
        seed (int): Seed of the draw.

    Returns:
        tuple[list[str], list[str]]: Names for training and for validation,
        sorted.

    Raises:
        ConfigError: If the fraction is not from 0 to 1.
    """
    if not 0 <= fraction <= 1:
        raise ConfigError(f'--val-fraction {fraction} must be from 0 to 1')
    ordered = sorted(names)
    count = round(fraction * len(ordered))
    if 0 < fraction < 1:
        count = min(max(count, len(ordered) > 1), max(len(ordered) - 1, 0))
    drawn = set(random.Random(seed).sample(ordered, count))
    return [n for n in ordered if n not in drawn], sorted(drawn)


def read_list(path: str | Path) -> list[str]:
    """Read the names of images, one a line.

    Args:
        path (str | Path): Text file. A name may have an ending or not, and
            blanks. The 1, 0 or -1 behind it in the lists that Pascal VOC has
            of each class is no part of it.

    Returns:
        list[str]: Names.

    Raises:
        ConfigError: If the file cannot be read, or is empty.
    """
    try:
        lines = Path(path).read_text(encoding='utf-8-sig').splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"list '{path}' cannot be read: {error}") from error
    stripped = (re.sub(r'\s+(-1|0|1)$', '', line.strip()) for line in lines)
    names = [name for name in stripped if name]
    if not names:
        raise ConfigError(f"list '{path}' is empty")
    return names


def without_ending(name: str) -> str:
    """A name without the ending of a picture; other dots are kept."""
    path = Path(name)
    is_picture = path.suffix.lower() in PICTURES
    return path.with_suffix('').as_posix() if is_picture else name


def assign(
    pictures: Sequence[str], lists: dict[str, str]
) -> tuple[dict[str, str], list[str]]:
    """Find the split of each picture in lists.

    Args:
        pictures (Sequence[str]): Paths with ``/``, seen from the folder of
            the data set.
        lists (dict[str, str]): Files that list the pictures of ``'train'`` and
            ``'val'``, for :func:`read_list`: by their names, or by as much of
            their paths as makes them unique. With one list alone, all other
            pictures belong to the other split.

    Returns:
        tuple[dict[str, str], list[str]]: Split by picture, and the names in
        the lists that no picture has.

    Raises:
        ConfigError: If a picture is in both lists, or a name fits several
            pictures.
    """
    by_end: dict[str, list[str]] = {}
    for picture in pictures:
        parts = without_ending(picture).split('/')
        for start in range(len(parts)):
            by_end.setdefault('/'.join(parts[start:]), []).append(picture)
    found: dict[str, str] = {}
    unknown = []
    for split_name, path in lists.items():
        for name in read_list(path):
            place = name.replace('\\', '/')
            parts = without_ending(place.removeprefix('./')).split('/')
            # Absolute paths may be those of another machine.
            ends = range(len(parts) if _ABSOLUTE.match(place) else 1)
            keys = ('/'.join(parts[i:]) for i in ends)
            fitting = next((by_end[key] for key in keys if key in by_end), [])
            if len(fitting) > 1:
                raise ConfigError(
                    f"{name!r} in '{path}' may be {fitting[0]!r} or "
                    f'{fitting[1]!r}: write more of its path'
                )
            for picture in fitting:
                if found.setdefault(picture, split_name) != split_name:
                    raise ConfigError(
                        f'{picture!r} is in both lists, for training and for '
                        'validation'
                    )
            if not fitting:
                unknown.append(name)
    if len(lists) == 1:
        other = 'val' if 'train' in lists else 'train'
        found = dict.fromkeys(pictures, other) | found
    return found, unknown
