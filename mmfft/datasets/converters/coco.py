# Copyright (c) mmfft authors. All rights reserved.
"""Boxes, polygons and masks of other forms as COCO's instances."""

import filecmp
import os
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from mmengine.fileio import dump
from PIL import ExifTags, Image
from pycocotools import mask as rle

from ...errors import ConfigError
from ..check.problems import Overview, Problem
from .labelme import read_labelme
from .mask_folder import read_mask_folder
from .source import Item, Picture, Source, link_or_copy, upright_size
from .splits import assign, split
from .via import read_via
from .voc import read_voc
from .yolo import read_yolo

READERS = {
    'voc': read_voc,
    'yolo': read_yolo,
    'labelme': read_labelme,
    'mask-folder': read_mask_folder,
    'via': read_via,
}
SPLITS = ('train', 'val', 'test')
# Areas that COCO calls small and medium end here, in pixels.
SMALL, MEDIUM = 32**2, 96**2


def to_coco(
    source: str | Path,
    form: str,
    out: str | Path | None = None,
    classes: Sequence[str] | None = None,
    val_fraction: float = 0.2,
    seed: int = 0,
    lists: dict[str, str] = {},
    class_attribute: str | None = None,
    overwrite: bool = False,
) -> tuple[Overview, list[Problem], list[str]]:
    """Write ``train.json``, ``val.json`` and perhaps ``test.json``.

    ``file_name`` is a path below ``out``: pictures that lie elsewhere are
    linked to ``out/images``, or copied where the file system makes no links.
    Polygons stay polygons, masks become run-length codes.

    Args:
        source (str | Path): Folder of the data set, or a JSON file of VIA.
        form (str): ``'voc'``, ``'yolo'``, ``'labelme'``, ``'mask-folder'`` or
            ``'via'``.
        out (str | Path, optional): Folder to write to. Defaults to the
            source.
        classes (Sequence[str], optional): Names of the classes; objects of
            others are left out. Of masks without a class, the one name that
            they get. Defaults to those that are found.
        val_fraction (float): Fraction of the pictures for validation, if the
            source has no splits of its own. Defaults to 0.2.
        seed (int): Seed of the split. Defaults to 0.
        lists (dict[str, str]): Files that list the pictures of ``'train'`` and
            ``'val'``, one a line. Defaults to none.
        class_attribute (str, optional): Attribute of VIA's regions that is
            the class. Defaults to the most frequent.
        overwrite (bool): Whether to replace the JSON files. Defaults to
            False.

    Returns:
        tuple[Overview, list[Problem], list[str]]: Pictures and boxes of each
        class in each split; faults of the source; and what was found and
        decided, a line each.

    Raises:
        ConfigError: If there is nothing to convert, an argument is of another
            form than the source, or a file would be overwritten.
    """
    source = Path(source)
    if not source.exists():
        raise ConfigError(f"'{source}' does not exist")
    folder = source if source.is_dir() else source.parent
    out = folder if out is None else Path(out)
    there = [out / f'{name}.json' for name in SPLITS]
    there = [str(file) for file in there if file.exists()]
    if folder.resolve() in out.resolve().parents:
        raise ConfigError(
            f"--out '{out}' is inside of the source, where its pictures would "
            f"be taken for those of the source: choose '{folder}' itself or "
            'another folder'
        )
    for name in classes or ():
        if list(classes).count(name) > 1:
            raise ConfigError(f'--classes has {name!r} twice')
    if there and not overwrite:
        raise ConfigError(
            f'{", ".join(there)} would be overwritten: choose another --out, '
            'or add --overwrite'
        )
    readers = dict(READERS)
    alone = {'name': classes[0]} if classes and len(classes) == 1 else {}
    readers['mask-folder'] = partial(read_mask_folder, **alone)
    readers['via'] = partial(read_via, attribute=class_attribute, **alone)
    if class_attribute and form != 'via':
        raise ConfigError('--class-attribute is for --from via')
    read = readers.pop(form)(source)
    if not any(picture.items for picture in read.pictures):
        faults = _first_faults(read)
        hint = faults or _other_forms(source, readers)
        raise ConfigError(f"'{source}' has no object of the form {form}{hint}")
    _leave_out_copies(read)
    _assign_splits(read, val_fraction, seed, lists)
    found = {item.name for p in read.pictures for item in p.items}
    names = list(classes or read.names or sorted(found))
    if not found & set(names):
        raise ConfigError(
            f"'{source}' has no object of the classes {', '.join(names)}: it "
            f'has {", ".join(sorted(found)) or "none in a picture of a list"}'
        )
    contents, overview = _contents(read, names, out, folder)
    if not any(content['annotations'] for content in contents.values()):
        raise ConfigError(
            f"'{source}' has no object that can be used{_first_faults(read)}"
        )
    for name, content in contents.items():
        out.mkdir(parents=True, exist_ok=True)
        dump(content, str(out / f'{name}.json'))
    read.said += _without_masks(contents)
    statistics = [_statistics(name, contents[name]) for name in contents]
    return overview, read.problems, [*read.said, *statistics]


def _first_faults(read: Source) -> str:
    kinds = Counter(problem.kind for problem in read.problems)
    if not kinds:
        return ''
    listed = ', '.join(f'{kind} ({n})' for kind, n in kinds.most_common(5))
    return f': {listed}, the first is {read.problems[0]}'


def _other_forms(source: Path, readers: dict[str, Callable]) -> str:
    others = []
    for name, read in readers.items():
        try:
            found = read(source).pictures
        except ConfigError:
            continue
        if any(picture.items for picture in found):
            others.append(name)
    return f'; it looks like {" or ".join(others)}' if others else ''


def _without_masks(contents: dict[str, dict]) -> list[str]:
    objects = [a for c in contents.values() for a in c['annotations']]
    bare = sum('segmentation' not in a for a in objects)
    if not 0 < bare < len(objects):
        return []
    return [
        f'{bare} of {len(objects)} objects are boxes without a mask: a model '
        'of masks cannot be trained on them'
    ]


def _leave_out_copies(read: Source) -> None:
    by_path: dict[Path, Picture] = {}
    for picture in sorted(read.pictures, key=lambda p: str(p.path)):
        if by_path.setdefault(picture.path, picture) is not picture:
            what = 'the annotations that come later are left out'
            read.wrong('twice', picture.path, what)
    read.pictures = list(by_path.values())


def _assign_splits(
    read: Source, fraction: float, seed: int, lists: dict[str, str]
) -> None:
    pictures = read.pictures
    if lists:
        # The folder may be given with .. or as a link, and a list with less.
        paths = {picture.path.as_posix(): picture for picture in pictures}
        assigned, missing = assign(list(paths), lists)
        for name in missing:
            read.wrong('missing picture', name, 'it is in a list only')
        for path, picture in paths.items():
            picture.split = assigned.get(path, '')
        read.pictures = [p for p in pictures if p.split]
        read.said.append('split by the lists')
    elif {'train', 'val'} <= {p.split for p in pictures}:
        read.pictures = [p for p in pictures if p.split]
        read.said.append("split as in the source's own lists or folders")
    else:
        rest = {str(p.path): p for p in pictures if p.split != 'test'}
        train, val = split(list(rest), fraction, seed)
        for name, paths in (('train', train), ('val', val)):
            for path in paths:
                rest[path].split = name
        read.said.append(
            f'split at random with seed {seed}, {fraction:g} for validation'
        )


def _contents(
    read: Source, names: list[str], out: Path, folder: Path
) -> tuple[dict[str, dict], Overview]:
    ids = {name: index for index, name in enumerate(names, 1)}
    overview = Overview()
    overview.unit = 'box'
    contents: dict[str, dict] = {}
    used = [n for n in SPLITS if n in {p.split for p in read.pictures}]
    for name in used:
        overview.classes[name] = Counter(dict.fromkeys(names, 0))
        contents[name] = dict(
            images=[],
            annotations=[],
            categories=[dict(id=ids[n], name=n) for n in names],
        )
    for picture in read.pictures:
        size = _settle_size(picture, read)
        if size is None:
            continue
        content = contents[picture.split]
        image_id = len(content['images']) + 1
        content['images'].append(
            dict(
                id=image_id,
                file_name=_file_name(picture.path, out, folder),
                width=size[0],
                height=size[1],
            )
        )
        overview[picture.split] += 1
        overview.used[picture.split] += 1
        for item in picture.items:
            if item.name not in ids:
                what = f'{item.name!r}: left out'
                read.wrong('unknown class', picture.path, what)
                continue
            annotation = _annotation(item, size, picture, read)
            if annotation is not None:
                content['annotations'].append(
                    dict(
                        id=len(content['annotations']) + 1,
                        image_id=image_id,
                        category_id=ids[item.name],
                        **annotation,
                    )
                )
                overview.classes[picture.split][item.name] += 1
    return contents, overview


def _file_name(path: Path, out: Path, folder: Path) -> str:
    """Path of a picture below a folder, to which it is brought if need be."""
    # Links within the folder count as files there, wherever they lead.
    path, out, folder = (Path(os.path.abspath(p)) for p in (path, out, folder))
    if not path.is_relative_to(out):
        inside = os.path.relpath(path, folder)
        parts = [part for part in Path(inside).parts if part != '..']
        target = out.joinpath('images', *parts)
        if not target.exists():
            link_or_copy(path, target)
        elif not filecmp.cmp(path, target):
            raise ConfigError(
                f"'{target}' is another picture than '{path}': choose another "
                '--out'
            )
        path = target
    return path.relative_to(out).as_posix()


def _settle_size(picture: Picture, read: Source) -> tuple[int, int] | None:
    """Size ``(W, H)`` of a picture, to which its objects are brought."""
    path = picture.path
    try:
        with Image.open(path) as image:
            raw = image.size
            orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        size = upright_size(path)
    except FileNotFoundError:
        read.wrong('missing picture', path, 'left out')
        return None
    # Pillow raises what its decoders raise.
    except Exception as error:
        what = f'{type(error).__name__}: {error}: left out'
        read.wrong('cannot be read', path, what)
        return None
    declared = picture.size
    if picture.is_relative:
        for item in picture.items:
            _scale(item, size)
    elif declared is not None and declared != size:
        if declared != raw:
            what = (
                f'the annotations are for {declared[0]}x{declared[1]} and the '
                f'picture is {size[0]}x{size[1]}: left out'
            )
            read.wrong('another size', path, what)
            return None
        for item in picture.items:
            _turn(item, raw, orientation)
        what = 'its objects are turned, too, as the annotated size shows'
        read.wrong('turned by EXIF', path, what)
        return size
    is_sure = declared is not None and size != raw
    if orientation in range(2, 9) and picture.items and not is_sure:
        what = 'its objects are taken to be those of the upright picture'
        read.wrong('turned by EXIF', path, what)
    return size


def _scale(item: Item, size: tuple[int, int]) -> None:
    if item.box is not None:
        item.box = tuple(np.multiply(item.box, (*size, *size)).tolist())
    item.polygons = [points * size for points in item.polygons]


def _turn(item: Item, size: tuple[int, int], orientation: int) -> None:
    """Turn an object as EXIF says that its picture of a size is turned."""
    w, h = size
    turned = {
        2: lambda x, y: (w - x, y),
        3: lambda x, y: (w - x, h - y),
        4: lambda x, y: (x, h - y),
        5: lambda x, y: (y, x),
        6: lambda x, y: (h - y, x),
        7: lambda x, y: (h - y, w - x),
        8: lambda x, y: (y, w - x),
    }[orientation]
    if item.box is not None:
        x1, y1, x2, y2 = item.box
        (xa, ya), (xb, yb) = turned(x1, y1), turned(x2, y2)
        item.box = min(xa, xb), min(ya, yb), max(xa, xb), max(ya, yb)
    item.polygons = [np.stack(turned(*p.T), axis=1) for p in item.polygons]
    if item.mask is not None:
        whole = _whole(item, size)
        y, x = np.nonzero(whole)
        # Centres of pixels turn as points do.
        columns, rows = turned(x + 0.5, y + 0.5)
        across = orientation >= 5
        item.mask = np.zeros((w, h) if across else (h, w), bool)
        item.mask[rows.astype(int), columns.astype(int)] = True
        item.corner = 0, 0


def _whole(item: Item, size: tuple[int, int]) -> np.ndarray:
    """Mask of an object in a picture of size ``(W, H)``."""
    mask = np.zeros(size[::-1], bool)
    x, y = item.corner
    part = item.mask[max(-y, 0) : size[1] - y, max(-x, 0) : size[0] - x]
    x, y = max(x, 0), max(y, 0)
    mask[y : y + part.shape[0], x : x + part.shape[1]] = part
    return mask


def _annotation(
    item: Item, size: tuple[int, int], picture: Picture, read: Source
) -> dict | None:
    """Box, area and segmentation of an object, inside of its picture."""
    code = segmentation = None
    where: Sequence = ()
    if item.mask is not None:
        code = rle.encode(np.asfortranarray(_whole(item, size), np.uint8))
        segmentation = dict(code, counts=code['counts'].decode())
        x, y, w, h = map(float, rle.toBbox(code))
    else:
        where = _around(item.polygons) if item.polygons else item.box
        if not np.isfinite(where).all():
            what = f'{item.name} {_numbers(where)}: left out'
            read.wrong('no area', picture.path, what)
            return None
        inside = [_clip(points, size) for points in item.polygons]
        polygons = [points for points in inside if len(points) > 2]
        edges = np.clip(_around(polygons) if polygons else where, 0, size * 2)
        x, y = edges[:2].tolist()
        w, h = (edges[2:] - edges[:2]).tolist()
        if polygons:
            segmentation = [p.round(2).ravel().tolist() for p in polygons]
            code = rle.merge(rle.frPyObjects(segmentation, *size[::-1]))
    box = [round(value, 2) for value in (x, y, w, h)]
    area = box[2] * box[3] if code is None else float(rle.area(code))
    # What mmdet drops: it has less than a pixel.
    if min(box[2:]) < 1 or area <= 0:
        what = f'{item.name} {_numbers(where)}: left out'
        is_outside = where and min(w, h) <= 0 < min(_extent(where))
        read.wrong('outside' if is_outside else 'no area', picture.path, what)
        return None
    # Edges are rounded more finely than this by all tools.
    if where and np.abs(np.subtract(edges, where)).max() > 1:
        what = f'{_numbers(where)} is cut off at {size[0]}x{size[1]}'
        read.wrong('outside', picture.path, what)
    annotation = dict(
        bbox=box, area=round(area, 2), iscrowd=int(item.is_crowd)
    )
    if segmentation is not None:
        annotation['segmentation'] = segmentation
    return annotation


def _extent(edges: Sequence[float]) -> tuple[float, float]:
    return edges[2] - edges[0], edges[3] - edges[1]


def _clip(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Part of a polygon inside of a picture (Sutherland and Hodgman, 1974)."""
    for axis, limit, sign in (
        *((0, 0, 1), (0, size[0], -1)),
        *((1, 0, 1), (1, size[1], -1)),
    ):
        inside = sign * (points[:, axis] - limit) >= 0
        if inside.all():
            continue
        kept = []
        for i, point in enumerate(points):
            before = points[i - 1]
            if inside[i] != inside[i - 1]:
                part = (limit - before[axis]) / (point[axis] - before[axis])
                kept.append(before + part * (point - before))
            if inside[i]:
                kept.append(point)
        points = np.reshape(kept, (-1, 2))
    return points


def _around(polygons: list[np.ndarray]) -> tuple[float, ...]:
    points = np.concatenate(polygons)
    return (*points.min(0).tolist(), *points.max(0).tolist())


def _numbers(values: Sequence[float]) -> str:
    if not len(values):
        return 'a mask'
    return '(' + ', '.join(f'{value:g}' for value in values) + ')'


def _statistics(name: str, content: dict) -> str:
    images, annotations = content['images'], content['annotations']
    sides = [(i['width'], i['height']) for i in images]
    sizes = sorted(sides, key=lambda side: side[0] * side[1])
    shown = [sizes[0], sizes[len(sizes) // 2], sizes[-1]] if sizes else []
    areas = np.array([a['area'] for a in annotations])
    small = (areas < SMALL).sum()
    large = (areas >= MEDIUM).sum()
    empty = len(images) - len({a['image_id'] for a in annotations})
    masks = sum('segmentation' in a for a in annotations)
    text = ', '.join(f'{w}x{h}' for w, h in dict.fromkeys(shown))
    return (
        f'{name}: {len(images)} pictures ({text}; {empty} without objects), '
        f'{len(annotations)} boxes ({masks} with masks; {small} small, '
        f'{len(areas) - small - large} medium, {large} large)'
    )
