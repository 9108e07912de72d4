# Copyright (c) mmfft authors. All rights reserved.
"""VGG Image Annotator: one JSON file for all pictures."""

import json
from collections import Counter
from pathlib import Path

from ...errors import ConfigError
from .source import (
    Item,
    Picture,
    Source,
    corners,
    ellipse,
    pictures_in,
    split_of,
)


def read_via(root: Path, attribute: str | None = None) -> Source:
    """Read projects and exported annotations of VIA 1 and 2.

    Args:
        root (Path): The JSON file, or a folder with such files and the
            pictures.
        attribute (str, optional): Attribute of the regions that is the class.
            Defaults to the one that most regions have.

    Returns:
        Source: Pictures.

    Raises:
        ConfigError: If no region has the attribute.
    """
    source = Source([])
    folder = root if root.is_dir() else root.parent
    by_name = {file.name: file for file in reversed(pictures_in(folder))}
    entries = []
    for file in sorted(folder.rglob('*.json')) if root.is_dir() else [root]:
        entries += [(file, entry) for entry in _entries(file, source)]
    named = Counter(
        key
        for _, entry in entries
        for region in _regions(entry)
        for key, value in region.get('region_attributes', {}).items()
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
        name = Path(entry['filename']).name
        items = []
        for region in _regions(entry):
            item = _read_region(region, attribute)
            if isinstance(item, str):
                source.wrong(item, f'{file}: {name}', 'region left out')
            else:
                items.append(item)
        path = by_name.get(name, file.parent / name)
        within = path if path.is_relative_to(folder) else file
        source.pictures.append(Picture(path, items, split_of(within, folder)))
    return source


def _entries(file: Path, source: Source) -> list[dict]:
    try:
        content = json.loads(file.read_text(encoding='utf-8'))
    except ValueError as error:
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


def _word(value) -> str:
    """Value of an attribute; of a checkbox, what alone is ticked."""
    if isinstance(value, dict):
        ticked = [name for name, on in value.items() if on]
        return ticked[0] if len(ticked) == 1 else ''
    return str(value).strip()


def _read_region(region: dict, attribute: str | None) -> Item | str:
    """An object, or the kind of problem that there is."""
    name = _word(region.get('region_attributes', {}).get(attribute, ''))
    if not name and attribute is not None:
        return 'no class'
    item = Item(name or 'object')
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
