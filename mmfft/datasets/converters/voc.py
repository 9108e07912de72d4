# Copyright (c) mmfft authors. All rights reserved.
"""Pascal VOC: an XML file a picture, with boxes."""

from pathlib import Path
from xml.etree import ElementTree

from .source import Item, Picture, Source, pictures_in
from .splits import read_list

_EDGES = ('xmin', 'ymin', 'xmax', 'ymax')


def read_voc(root: Path) -> Source:
    """Read ``Annotations/*.xml``, or all XML files below a folder.

    Objects that are ``difficult`` become crowd, which mmdet ignores in the
    same way. Pixels are counted from 1, so that a box from 1 to 10 is 10
    pixels wide, unless a coordinate of 0 shows that the edges are meant.

    Args:
        root (Path): Folder of the data set.

    Returns:
        Source: Pictures, in the splits of ``ImageSets/Main``.
    """
    source = Source([])
    folder = root / 'Annotations'
    files = sorted((folder if folder.is_dir() else root).rglob('*.xml'))
    by_name = {file.name: file for file in reversed(pictures_in(root))}
    by_stem = {file.stem: file for file in by_name.values()}
    splits = _splits(root, source)
    for file in files:
        try:
            tree = ElementTree.parse(file).getroot()
            found = _read_tree(tree, file, source)
        except (ElementTree.ParseError, TypeError, ValueError) as error:
            source.wrong('cannot be read', file, f'{error}: left out')
            continue
        if tree.tag != 'annotation':
            continue
        name = Path((tree.findtext('filename') or file.stem).strip())
        # The file of the same name comes first: pictures are often renamed.
        path = by_stem.get(file.stem) or by_name.get(name.name)
        split = splits.get(file.stem, '')
        if splits and not split:
            source.wrong('in no list', file, 'of ImageSets/Main: left out')
            continue
        size = [tree.findtext(f'size/{side}') for side in ('width', 'height')]
        known = all(side and side.isdigit() and int(side) for side in size)
        source.pictures.append(
            Picture(
                path or root / 'JPEGImages' / name.name,
                found,
                split,
                tuple(map(int, size)) if known else None,
            )
        )
    boxes = [i for p in source.pictures for i in p.items if i.box is not None]
    if any(min(item.box) == 0 for item in boxes):
        source.said.append('coordinates are edges, since some are 0')
    else:
        for item in boxes:
            x1, y1, x2, y2 = item.box
            item.box = x1 - 1, y1 - 1, x2, y2
    return source


def _read_tree(tree, file: Path, source: Source) -> list[Item]:
    found = []
    for element in tree.iter('object'):
        name = (element.findtext('name') or '').strip()
        edges = [element.findtext(f'bndbox/{edge}') for edge in _EDGES]
        if not name or None in edges:
            source.wrong('no box', file, f'object {name!r}: left out')
            continue
        crowd = (element.findtext('difficult') or '0').strip() == '1'
        box = tuple(float(edge) for edge in edges)
        found.append(Item(name, box, is_crowd=crowd))
    return found


def _splits(root: Path, source: Source) -> dict[str, str]:
    folder = root / 'ImageSets' / 'Main'
    there = {
        name: read_list(folder / f'{name}.txt')
        for name in ('train', 'val', 'trainval', 'test')
        if (folder / f'{name}.txt').is_file()
    }
    if 'train' in there and 'val' in there:
        there.pop('trainval', None)
        roles = {name: name for name in there}
    elif 'trainval' in there and 'test' in there:
        roles = dict(trainval='train', test='val')
        source.said.append('trainval is for training, test for validation')
    else:
        roles = dict.fromkeys(there, '')
    return {
        Path(stem).stem: role
        for name, role in roles.items()
        if role
        for stem in there[name]
    }
