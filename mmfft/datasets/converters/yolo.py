# Copyright (c) mmfft authors. All rights reserved.
"""YOLO: a text file a picture, with boxes or polygons in 0 to 1."""

from pathlib import Path

import yaml

from ...errors import ConfigError
from .source import Item, Picture, Source, corners, pictures_in, split_of

# Objects may leave their picture, but not by more than its size.
_MOST = 2
_NAMES = ('classes.txt', 'obj.names', 'labels/classes.txt')


def read_yolo(root: Path) -> Source:
    """Read ``labels/**/*.txt`` beside ``images/**``, as ultralytics does.

    A line is ``class x y width height``, the centre and the size of a box, or
    ``class x1 y1 x2 y2 x3 y3 ...``, the corners of a polygon, as fractions of
    the picture. Names and splits come from a ``.yaml`` with ``names``, names
    else from ``classes.txt`` or ``obj.names``.

    Args:
        root (Path): Folder of the data set.

    Returns:
        Source: Pictures, also those without a text file.

    Raises:
        ConfigError: If a ``.yaml`` with ``names`` cannot be understood.
    """
    source = Source([])
    splits, names = _read_yaml(root)
    for file in (root / name for name in _NAMES):
        if not names and file.is_file():
            lines = _text(file).splitlines()
            names = [line.strip() for line in lines if line.strip()]
    if not splits:
        splits = {p: split_of(p, root) for p in pictures_in(root)}
    used, largest, bare = set(), -1, 0
    for path, split in splits.items():
        labels = _labels_of(path)
        items = []
        if labels.is_file():
            used.add(labels)
            for index, item in _read_lines(labels, names, source):
                largest = max(largest, index)
                items.append(item)
        else:
            bare += 1
        picture = Picture(path, items, split, is_relative=True)
        source.pictures.append(picture)
    if not names and largest >= 0:
        names = [f'class_{index}' for index in range(largest + 1)]
        source.said.append('no names of classes found: they are numbered')
    if bare:
        source.said.append(
            f'{bare} pictures have no text file: kept, without objects'
        )
    for file in sorted(root.rglob('*.txt')):
        is_label = 'labels' in file.relative_to(root).parts[:-1]
        if is_label and file not in used and file.name != 'classes.txt':
            source.wrong('missing picture', file, 'labels left out')
    source.names = names
    return source


def _labels_of(path: Path) -> Path:
    """Text file of a picture: in ``labels`` for ``images``, else beside it."""
    parts = list(path.parts)
    if 'images' in parts:
        place = len(parts) - 1 - parts[::-1].index('images')
        parts[place] = 'labels'
        file = Path(*parts).with_suffix('.txt')
        # A folder above the data set may be called images, too.
        if file.is_file():
            return file
    return path.with_suffix('.txt')


def _read_lines(file: Path, names: list[str], source: Source):
    try:
        lines = _text(file).splitlines()
    except ConfigError as error:
        source.wrong('cannot be read', file, f'{error}: no objects')
        return
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words:
            continue
        try:
            index, values = int(float(words[0])), list(map(float, words[1:]))
        except ValueError:
            source.wrong('cannot be read', file, f'line {number}: {line!r}')
            continue
        if not all(abs(value) <= _MOST for value in values):
            what = f'line {number} has no fractions of a picture: {line!r}'
            source.wrong('cannot be read', file, f'{what}: left out')
            continue
        if index < 0 or names and index >= len(names):
            source.wrong('unknown class', file, f'line {number}: {index}')
            continue
        name = names[index] if names else f'class_{index}'
        if len(values) == 4:
            x, y, w, h = values
            box = x - w / 2, y - h / 2, x + w / 2, y + h / 2
            yield index, Item(name, box)
        elif len(values) >= 6 and len(values) % 2 == 0:
            points = corners(zip(values[::2], values[1::2]))
            yield index, Item(name, polygons=[points])
        else:
            what = f'line {number} has {len(words)} numbers, and not 5 or 7, 9'
            source.wrong('cannot be read', file, f'{what}, ...: left out')


def _read_yaml(root: Path) -> tuple[dict[Path, str], list[str]]:
    for file in sorted([*root.glob('*.yaml'), *root.glob('*.yml')]):
        try:
            content = yaml.safe_load(_text(file))
        except yaml.YAMLError as error:
            raise ConfigError(f"'{file}' cannot be read: {error}") from error
        if not isinstance(content, dict) or 'names' not in content:
            continue
        if 'kpt_shape' in content:
            raise ConfigError(f"'{file}' is for keypoints, not for objects")
        names = content['names']
        if isinstance(names, dict):
            if sorted(names) != list(range(len(names))):
                raise ConfigError(f"'{file}': names must count from 0")
            names = [names[index] for index in range(len(names))]
        splits: dict[Path, str] = {}
        for split in ('train', 'val', 'test'):
            places = content.get(split) or []
            for place in [places] if isinstance(places, str) else places:
                found = _pictures_at(root, content.get('path'), place)
                # Templates name a split for tests, whether there or not.
                if found is None and split == 'test':
                    continue
                if found is None:
                    raise ConfigError(
                        f"{place!r}, which '{file.name}' names, is not found "
                        f"below '{root}'"
                    )
                splits |= dict.fromkeys(found, split)
        return splits, [str(name) for name in names]
    return {}, []


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding='utf-8-sig')
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"'{file}' cannot be read: {error}") from error


def _pictures_at(
    root: Path, base: str | None, place: str
) -> list[Path] | None:
    """Pictures of a folder or a list that a ``.yaml`` names, if it exists.

    Such files have been moved more often than not, so paths are looked for
    below the data set itself first.
    """
    inside = place
    while inside.startswith('../'):
        inside = inside[3:]
    for start in (root / inside, root / place, Path(base or '') / place):
        if start.is_dir():
            return pictures_in(start)
        if start.is_file():
            lines = _text(start).splitlines()
            files = [Path(line.strip()) for line in lines if line.strip()]
            return [f if f.is_absolute() else root / f for f in files]
    return None
