# Copyright (c) mmfft authors. All rights reserved.
"""Pascal VOC: an XML file a picture, with boxes."""

from pathlib import Path
from xml.etree import ElementTree

from ...errors import ConfigError
from .source import Finder, Item, Picture, Source, split_of
from .splits import read_list, without_ending

_EDGES = ('xmin', 'ymin', 'xmax', 'ymax')


def read_voc(root: Path) -> Source:
    """Read ``Annotations/*.xml``, or all XML files below a folder.

    Objects that are ``difficult`` become crowd, which mmdet ignores in the
    same way. Pixels are counted from 1, so that a box from 1 to 10 is 10
    pixels wide, unless a coordinate of 0 shows that the edges are meant.

    Args:
        root (Path): Folder of the data set.

    Returns:
        Source: Pictures, in the splits of ``ImageSets/Main`` or of folders.

    Raises:
        ConfigError: If the folder holds several data sets of this form.
    """
    source = Source([])
    folder = root / 'Annotations'
    if not folder.is_dir():
        inside = sorted(root.glob('*/Annotations'))
        if inside:
            raise ConfigError(
                f"'{root}' has no Annotations, but '{inside[0].parent}' has: "
                'give that folder'
            )
        folder = root
    finder = Finder(root)
    splits = _splits(root, source)
    for file in sorted(folder.rglob('*.xml')):
        try:
            tree = ElementTree.parse(file).getroot()
            found = _read_tree(tree, file, source)
        except (ElementTree.ParseError, OSError, ValueError) as error:
            source.wrong('cannot be read', file, f'{error}: left out')
            continue
        if tree.tag != 'annotation':
            continue
        stem = file.relative_to(folder).with_suffix('').as_posix()
        if splits and stem not in splits:
            source.wrong('in no list', file, 'of ImageSets/Main: left out')
            continue
        size = [tree.findtext(f'size/{side}') for side in ('width', 'height')]
        known = all(side and side.isdigit() and int(side) for side in size)
        source.pictures.append(
            Picture(
                _find(file, tree, finder),
                found,
                splits.get(stem) or split_of(file, root),
                tuple(map(int, size)) if known else None,
            )
        )
    if not splits and source.pictures:
        source.leave_out_others(finder.pictures)
    boxes = [i for p in source.pictures for i in p.items if i.box is not None]
    if any(min(item.box) <= 0 for item in boxes):
        source.said.append('coordinates are edges, since some are 0 or less')
    else:
        for item in boxes:
            x1, y1, x2, y2 = item.box
            item.box = x1 - 1, y1 - 1, x2, y2
    return source


def _find(file: Path, tree, finder: Finder) -> Path:
    if found := finder.beside(file):
        return found
    # Pictures are often renamed, and the name in the file is then the old one.
    # If it is not, it tells the picture from a mask of the same stem.
    told = finder.find(tree.findtext('filename') or file.stem, file.parent)
    if told.stem == file.stem and told.is_file():
        return told
    return finder.by_stem.get(file.stem) or told


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
    train = 'train' if 'train' in there else 'trainval'
    val = 'val' if 'val' in there and train == 'train' else 'test'
    if train in there and val in there:
        roles = {train: 'train', val: 'val'}
        if val == 'val' and 'test' in there:
            roles['test'] = 'test'
        if val == 'test' or train == 'trainval':
            source.said.append(
                f'{train} is for training, {val} for validation'
            )
    else:
        # What is in no list is left out, even if only one list is there.
        roles = dict.fromkeys(there, '')
        if there:
            source.said.append(
                f'ImageSets/Main has only {", ".join(there)}: pictures of '
                'these lists are split anew'
            )
    splits: dict[str, str] = {}
    for name, role in roles.items():
        for stem in map(without_ending, there[name]):
            if splits.setdefault(stem, role) != role:
                what = f'in the list {name} and in another one: left there'
                source.wrong('in two lists', stem, what)
    return splits
