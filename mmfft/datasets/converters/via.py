# Copyright (c) mmfft authors. All rights reserved.
"""VGG Image Annotator: one JSON file for all pictures."""

import json
from collections import Counter
from pathlib import Path

from ...errors import ConfigError
from .source import Finder, Item, Picture, Source, corners, ellipse, split_of


def read_via(
    root: Path, attribute: str | None = None, name: str = 'object'
) -> Source:
    """Read projects and exported annotations of VIA 1 and 2.

    Args:
        root (Path): The JSON file, or a folder with such files and the
            pictures.
        attribute (str, optional): Attribute of the regions that is the class.
            Defaults to the one that most regions have.
        name (str): Name of the class, if no region has an attribute.
            Defaults to ``'object'``.

    Returns:
        Source: Pictures.

    Raises:
        ConfigError: If no region has the attribute.
    """
    source = Source([])
    folder = root if root.is_dir() else root.parent
    finder = Finder(folder)
    entries = []
    for file in sorted(folder.rglob('*.json')) if root.is_dir() else [root]:
        entries += [(file, entry) for entry in _entries(file, source)]
    named = Counter(
        key
        for _, entry in entries
        for region in _regions(entry)
        for key, value in _attributes(region).items()
        if _word(value)
    )
    if attribute is None and named:
        attribute = min(named, key=lambda key: (-named[key], key))
        others = ', '.join(sorted(set(named) - {attribute}))
        source.said.append(
            f'the attribute {attribute!r} is the class'
            + (f', and not {others}' if others else '')
        )
    if named and attribute not in named:
        raise ConfigError(
            f'--class-attribute {attribute!r}: the regions have '
            f'{", ".join(sorted(named))}'
        )
    for file, entry in entries:
        items = []
        for number, region in enumerate(_regions(entry), 1):
            try:
                item = _read_region(region, attribute, name)
            except (KeyError, TypeError, ValueError) as error:
                item = f'cannot be read ({type(error).__name__}: {error})'
            if isinstance(item, str):
                where = f'{file}: {entry["filename"]}'
                source.wrong(item, where, f'region {number}: left out')
            else:
                items.append(item)
        path = finder.find(entry['filename'], file.parent)
        source.pictures.append(Picture(path, items, split_of(path, folder)))
    if source.pictures:
        source.leave_out_others(finder.pictures)
    return source


def _entries(file: Path, source: Source) -> list[dict]:
    try:
        content = json.loads(file.read_text(encoding='utf-8-sig'))
    except (OSError, ValueError) as error:
        source.wrong('cannot be read', file, f'{error}: left out')
        return []
    if isinstance(content, dict):
        content = content.get('_via_img_metadata', content)
        if isinstance(content, dict):
            return [
                entry
                for entry in content.values()
                if isinstance(entry, dict)
                and {'filename', 'regions'} <= entry.keys()
            ]
    return []


def _regions(entry: dict) -> list[dict]:
    regions = entry['regions']  # numbered in VIA 1
    return list(regions.values()) if isinstance(regions, dict) else regions


def _attributes(region: dict) -> dict:
    return region.get('region_attributes') or {}


def _word(value) -> str:
    """Value of an attribute; of a checkbox, what alone is ticked."""
    if isinstance(value, dict):
        ticked = [name for name, on in value.items() if on]
        return ticked[0] if len(ticked) == 1 else ''
    return '' if value is None else str(value).strip()


def _read_region(region: dict, attribute: str | None, name: str) -> Item | str:
    """An object, or the kind of problem that there is."""
    if attribute is not None:
        name = _word(_attributes(region).get(attribute))
    if not name:
        return 'no class'
    item = Item(name)
    shape = region['shape_attributes']
    kind = shape.get('name')
    if kind == 'rect':
        x, y = shape['x'], shape['y']
        item.box = x, y, x + shape['width'], y + shape['height']
    elif kind == 'polygon':
        points = corners(zip(shape['all_points_x'], shape['all_points_y']))
        if len(points) < 3:
            return 'no area'
        item.polygons = [points]
    elif kind == 'circle':
        radius = shape['r']
        item.polygons = [ellipse(shape['cx'], shape['cy'], radius, radius)]
    elif kind == 'ellipse':
        radii = shape['rx'], shape['ry']
        turned = shape.get('theta', 0)
        item.polygons = [ellipse(shape['cx'], shape['cy'], *radii, turned)]
    else:
        return 'no area'  # points and lines
    return item
