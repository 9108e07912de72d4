# Copyright (c) mmfft authors. All rights reserved.
"""labelme: a JSON file a picture, with polygons, boxes and circles."""

import base64
import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from .source import Finder, Item, Picture, Source, corners, ellipse, split_of

# What other editors of this form write as corners.
_CORNERS = ('polygon', 'rotation', 'quadrilateral')


def read_labelme(root: Path) -> Source:
    """Read all JSON files below a folder that have ``shapes``.

    Shapes of one ``group_id`` and label are the parts of one object.

    Args:
        root (Path): Folder of the data set.

    Returns:
        Source: Pictures.
    """
    source, finder = Source([]), Finder(root)
    for file in sorted(root.rglob('*.json')):
        try:
            content = json.loads(file.read_text(encoding='utf-8-sig'))
            if not isinstance(content, dict) or 'shapes' not in content:
                continue
            items = _read_shapes(content['shapes'], file, source)
            name = content.get('imagePath') or f'{file.stem}.jpg'
            path = finder.find(name, file.parent)
            size = content.get('imageWidth'), content.get('imageHeight')
        # Pillow raises OSError for a mask that it cannot read.
        except (
            *(OSError, ValueError, TypeError),
            *(KeyError, AttributeError),
        ) as error:
            what = f'{type(error).__name__}: {error}: left out'
            source.wrong('cannot be read', file, what)
            continue
        if not path.is_file():
            path = finder.beside(file) or path
        source.pictures.append(
            Picture(
                path,
                items,
                split_of(file, root),
                size if all(size) else None,
            )
        )
    if source.pictures:
        source.leave_out_others(finder.pictures)
    return source


def _read_shapes(shapes: list, file: Path, source: Source) -> list[Item]:
    groups: dict[tuple, Item] = {}
    items = []
    for shape in shapes:
        kind = shape.get('shape_type') or 'polygon'
        points = corners(shape['points'])
        name = str(shape['label'] or '').strip()
        if not name:
            source.wrong('no class', file, f'{kind}: left out')
            continue
        item = Item(name)
        if kind == 'rectangle' and len(points) in (2, 4):
            low, high = points.min(0), points.max(0)
            item.box = (*low.tolist(), *high.tolist())
        elif kind in _CORNERS and len(points) > 2:
            item.polygons = [points]
        elif kind == 'circle' and len(points) == 2:
            radius = float(np.hypot(*(points[1] - points[0])))
            item.polygons = [ellipse(*points[0], radius, radius)]
        elif kind == 'mask' and shape.get('mask'):
            png = io.BytesIO(base64.b64decode(shape['mask']))
            pixels = np.asarray(Image.open(png).convert('L')) > 0
            item.mask = pixels
            item.corner = tuple(points.min(0).astype(int).tolist())
        else:
            what = f'{kind} of {len(points)} points: left out'
            source.wrong('no area', file, what)
            continue
        group = shape.get('group_id')
        key = (group, item.name)
        if group is None or not item.polygons:
            items.append(item)
        elif key in groups:
            groups[key].polygons += item.polygons
        else:
            groups[key] = item
            items.append(item)
    return items
