# Copyright (c) mmfft authors. All rights reserved.
"""Label images in colours, in grey or binary into indices of classes."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageOps

from ...errors import ConfigError
from ..check.problems import Overview, Problem
from ..own_data import SPLITS
from .source import link_or_copy, pictures_in, upright_size
from .splits import assign, split

VOID = 255
# More values than this are no classes but, say, the noise of a JPEG.
MOST_CLASSES = 64
# What label images may have at the end of their picture's name.
SUFFIXES = ('_mask', '_label', '_labels', '_labelIds', '_gt', '_L', '_seg')

Colour = tuple[int, int, int]


class Pair(NamedTuple):
    """A picture, its label image, and the name and split of both."""

    split: str
    name: str
    picture: Path
    labels: Path


class Palette(NamedTuple):
    """What the values of label images mean.

    Args:
        colours (list[Colour]): Colour of each class, RGB.
        names (list[str]): Name of each class.
        void (set[Colour]): Colours of pixels without a class.
    """

    colours: list[Colour]
    names: list[str]
    void: set[Colour]


def read_palette(path: str | Path) -> list[tuple[Colour, str]]:
    """Read the colour of each class from a file.

    A JSON file has ``{name: [R, G, B]}`` or ``{name: "#rrggbb"}``. A text file
    has a class a line: ``R G B name`` with blanks, commas or tabs between
    them, ``#rrggbb name``, or CVAT's ``name:R,G,B:...``.

    Args:
        path (str | Path): Path of the file.

    Returns:
        list[tuple[Colour, str]]: Colours and names in the order of the file.

    Raises:
        ConfigError: If the file cannot be read, a line has no colour, or a
            colour or a name occurs twice.
    """
    try:
        text = Path(path).read_text(encoding='utf-8')
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"palette '{path}' cannot be read: {error}") from (
            error
        )
    entries = []
    if text.lstrip().startswith('{'):
        try:
            named = json.loads(text).items()
        except ValueError as error:
            raise ConfigError(f"palette '{path}': {error}") from error
        entries = [(_colour(value, path), name) for name, value in named]
    else:
        for line in text.splitlines():
            is_comment = line.startswith('#') and not _HEX.match(line)
            if line.strip() and not is_comment:
                entries.append(_palette_line(line, path))
    for what, values in zip(('colour', 'name'), zip(*entries)):
        twice = [v for v, n in Counter(values).items() if n > 1]
        if twice:
            raise ConfigError(
                f"palette '{path}' has the {what} {twice[0]} twice"
            )
    if not entries:
        raise ConfigError(f"palette '{path}' is empty")
    return entries


_HEX = re.compile(r'#([0-9a-fA-F]{6})\b\s*(.*)')
_RGB = re.compile(r'(\d+)[\s,;]+(\d+)[\s,;]+(\d+)[\s,;]+(\S.*)')
_CVAT = re.compile(r'([^:]+):(\d+),(\d+),(\d+)(?::|$)')


def _palette_line(line: str, path: str | Path) -> tuple[Colour, str]:
    line = line.strip()
    if match := _HEX.match(line):
        return _colour(f'#{match[1]}', path), match[2].strip()
    if match := _RGB.match(line):
        return _colour(match.groups()[:3], path), match[4].strip()
    if match := _CVAT.match(line):
        return _colour(match.groups()[1:], path), match[1].strip()
    raise ConfigError(
        f"palette '{path}': {line!r} is neither 'R G B name' nor "
        "'#rrggbb name' nor 'name:R,G,B'"
    )


def _colour(value: str | Sequence, path: str | Path = 'void') -> Colour:
    match = _HEX.fullmatch(value) if isinstance(value, str) else None
    if match:
        return tuple(bytes.fromhex(match[1]))
    parts = re.split(r'[\s,]+', value) if isinstance(value, str) else value
    try:
        colour = tuple(map(int, parts))
    except (TypeError, ValueError):
        colour = ()
    if len(colour) != 3 or not all(0 <= part <= 255 for part in colour):
        raise ConfigError(
            f"'{path}': {value!r} is not a colour, three numbers from 0 to "
            '255 or #rrggbb'
        )
    return colour


def to_index_masks(
    images: str | Path,
    labels: str | Path,
    out: str | Path,
    palette: str | Path | None = None,
    classes: Sequence[str] | None = None,
    void: Sequence[str] = (),
    unknown_is_void: bool = False,
    val_fraction: float = 0.2,
    seed: int = 0,
    lists: dict[str, str] = {},
) -> tuple[Overview, list[Problem], list[str]]:
    """Write label images with the index of a class in each pixel.

    The layout is mmsegmentation's: ``img_dir/{train,val}``,
    ``ann_dir/{train,val}`` and ``classes.txt``. Pictures are linked, or copied
    where the file system makes no links. Those that do not end as most of
    them do are written as PNG, since a data set takes one ending.

    Args:
        images (str | Path): Folder of the pictures, which may have ``train``
            and ``val`` in it.
        labels (str | Path): Folder of the label images, which have the names
            of their pictures, perhaps with one of ``SUFFIXES``.
        out (str | Path): Folder to write to, which must be empty or new.
        palette (str | Path, optional): File for :func:`read_palette`.
            Defaults to none: classes are the values or the colours that are
            found.
        classes (Sequence[str], optional): Names of the classes, in the order
            of their values. Defaults to those of the palette, or names made
            of the values.
        void (Sequence[str]): Names, values or colours ``#rrggbb`` or
            ``R,G,B`` of pixels without a class, which become 255. Defaults to
            none; a value of 255 is one unless the only other one is 0.
        unknown_is_void (bool): Whether colours that are not in the palette
            become 255, too. Defaults to False: they are an error.
        val_fraction (float): Fraction of the images for validation, if there
            are neither folders nor lists. Defaults to 0.2.
        seed (int): Seed of the split. Defaults to 0.
        lists (dict[str, str]): Files that list the images of ``'train'`` and
            ``'val'``, one a line. Defaults to none.

    Returns:
        tuple[Overview, list[Problem], list[str]]: Images and pixels of each
        class in each split; images that were left out and why; and what was
        found and decided, a line each.

    Raises:
        ConfigError: If a folder or a file is missing or empty, ``out`` is not
            empty, the values are no classes, or a class is not known.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"'{out}' exists and is not an empty folder")
    pairs, problems = _pair(Path(images), Path(labels))
    pairs, assigned = _split(pairs, Path(images), val_fraction, seed, lists)
    good, values, is_colour = [], Counter(), False
    entries = read_palette(palette) if palette else None
    for pair in pairs:
        problem, found, in_colour = _look_at(pair, entries is not None)
        if problem is None:
            good.append(pair)
            values.update(found)
            is_colour |= in_colour
        else:
            problems.append(problem)
    if not good:
        raise ConfigError(
            f"no picture in '{images}' has a usable label image in "
            f"'{labels}'" + (f': {problems[0]}' if problems else '')
        )
    table, said = _decide(values, is_colour, entries, classes, void)
    unknown = {
        value: count
        for value, count in values.items()
        if value not in table.void and value not in set(table.colours)
    }
    if unknown and not unknown_is_void:
        most = ', '.join(
            f'{_spell(v)} ({n:,} pixels)' for v, n in _largest(unknown)[:5]
        )
        raise ConfigError(
            f'{len(unknown)} colours are not in the palette: {most}: add them '
            'to it, or let them be void with --unknown void'
        )
    if unknown:
        said.append(f'{sum(unknown.values()):,} pixels of unknown colours')
    suffix, count = Counter(p.picture.suffix for p in good).most_common(1)[0]
    if count < len(good):
        others = f'{len(good) - count} pictures do not end with {suffix}'
        said.append(f'{others} as most do, and are written anew with it')
    problems += [p for p in map(_turned, good) if p is not None]
    overview = Overview()
    overview.unit = 'pixel'
    overview.classes = {name: Counter() for name in SPLITS}
    for pair in good:
        counts = _write(pair, out, table, suffix, entries is not None)
        overview[pair.split] += 1
        overview.used[pair.split] += 1
        overview.classes[pair.split].update(counts)
    names = '\n'.join(table.names) + '\n'
    (out / 'classes.txt').write_text(names, encoding='utf-8')
    return overview, problems, [assigned, *said]


def _pair(images: Path, labels: Path) -> tuple[list[Pair], list[Problem]]:
    for folder in (images, labels):
        if not folder.is_dir():
            raise ConfigError(f"'{folder}' is not a folder")
    by_stem: dict[str, Path] = {}
    for file in pictures_in(labels):
        stem = file.relative_to(labels).with_suffix('').as_posix()
        by_stem[stem] = file
    pairs, problems, seen = [], [], set()
    for picture in pictures_in(images):
        stem = picture.relative_to(images).with_suffix('').as_posix()
        found = [by_stem.get(stem + end) for end in ('', *SUFFIXES)]
        file = next(filter(None, found), None)
        if file is None:
            problems.append(
                Problem('no label image', str(picture), 'left out')
            )
            continue
        parts = list(Path(stem).parts)
        top = parts.pop(0) if parts[0] in SPLITS and parts[1:] else ''
        pair = Pair(top, '_'.join(parts), picture, file)
        if pair[:2] in seen:
            what = (
                f'there is another picture of the name {pair.name}: left out'
            )
            problems.append(Problem('same name', str(picture), what))
        else:
            pairs.append(pair)
        seen.add(pair[:2])
    used = {pair.labels for pair in pairs}
    problems += [
        Problem('no picture', str(file), 'left out')
        for file in by_stem.values()
        if file not in used
    ]
    return pairs, problems


def _split(
    pairs: list[Pair],
    images: Path,
    fraction: float,
    seed: int,
    lists: dict[str, str],
) -> tuple[list[Pair], str]:
    if lists:
        paths = [p.picture.relative_to(images).as_posix() for p in pairs]
        splits, missing = assign(paths, lists)
        chosen = [
            pair._replace(split=splits[path])
            for pair, path in zip(pairs, paths)
            if path in splits
        ]
        if missing:
            raise ConfigError(
                f'{len(missing)} names of the lists are not among the '
                f'pictures, such as {min(missing)!r}'
            )
        return chosen, 'split by the lists'
    if {pair.split for pair in pairs} >= set(SPLITS):
        chosen = [pair for pair in pairs if pair.split]
        return chosen, 'split by the folders train and val'
    names = [str(pair.picture) for pair in pairs]
    train = set(split(names, fraction, seed)[0])
    return [
        pair._replace(split='train' if str(pair.picture) in train else 'val')
        for pair in pairs
    ], f'split at random with seed {seed}, {fraction:g} for validation'


def _look_at(
    pair: Pair, as_colours: bool
) -> tuple[Problem | None, Counter, bool]:
    """Read a pair; returns a problem or the values, and whether in colour."""
    try:
        size = upright_size(pair.picture)
        values = _read(pair, as_colours)
    except (OSError, ValueError) as error:
        return (
            Problem('cannot be read', str(pair.picture), str(error)),
            Counter(),
            False,
        )
    height, width = values.shape[:2]
    if (width, height) != size:
        what = (
            f'label image is {width}x{height} and the picture, upright, '
            f'{size[0]}x{size[1]}: left out'
        )
        problem = Problem('another size', str(pair.picture), what)
        return problem, Counter(), False
    codes, counts = np.unique(_encode(values), return_counts=True)
    found = Counter(dict(zip(map(_decode, codes.tolist()), counts.tolist())))
    return None, found, any(len(set(colour)) > 1 for colour in found)


def _read(pair: Pair, as_colours: bool) -> np.ndarray:
    """Read a label image as RGB; values are grey.

    Args:
        pair (Pair): Picture and label image, which is turned with the
            picture if its size is that of the picture before.
        as_colours (bool): Whether indices into the palette of a PNG stand for
            their colours.
    """
    with Image.open(pair.picture) as picture:
        raw, orientation = picture.size, _orientation(picture)
    with Image.open(pair.labels) as image:
        if orientation >= 5 and image.size == raw != raw[::-1]:
            image.getexif()[ExifTags.Base.Orientation] = orientation
            image = ImageOps.exif_transpose(image)
        if image.mode == '1' or image.mode == 'P' and as_colours:
            image = image.convert('RGB')
        values = np.asarray(image)
        if image.mode.startswith('I') and values.max() > 255:
            raise ValueError(
                f'values up to {values.max()} in 16 bits: at most 255 '
                'classes are possible'
            )
        if image.mode in ('P', 'L') or image.mode.startswith('I'):
            return np.repeat(values[..., None].astype(np.uint8), 3, axis=2)
        return np.asarray(image.convert('RGB'))


def _orientation(picture: Image.Image) -> int:
    return picture.getexif().get(ExifTags.Base.Orientation, 1)


def _turned(pair: Pair) -> Problem | None:
    """Say what became of the labels of a picture that EXIF turns."""
    with Image.open(pair.picture) as picture, Image.open(pair.labels) as image:
        orientation, raw = _orientation(picture), picture.size
        same = image.size == raw
    if orientation not in range(2, 9):
        return None
    what = 'its labels are turned, too, as their size shows'
    if orientation < 5 or raw == raw[::-1]:
        what = 'its labels are taken to be those of the upright picture'
    elif not same:
        return None
    return Problem('turned by EXIF', str(pair.picture), what)


def _encode(pixels: np.ndarray) -> np.ndarray:
    red, green, blue = np.moveaxis(pixels.astype(np.int32), 2, 0)
    return red << 16 | green << 8 | blue


def _decode(code: int) -> Colour:
    return code >> 16, code >> 8 & 255, code & 255


def _decide(
    values: Counter,
    is_colour: bool,
    entries: list[tuple[Colour, str]] | None,
    classes: Sequence[str] | None,
    void: Sequence[str],
) -> tuple[Palette, list[str]]:
    """Choose the classes, from the palette or from what is found."""
    said = []
    if entries is None and len(values) > max(MOST_CLASSES, len(classes or ())):
        raise ConfigError(
            f'the label images have {len(values)} different values, more than '
            f'{MOST_CLASSES}: if they are JPEG, the values have been blurred, '
            'save them as PNG; if not, give a --palette'
        )
    if entries is None and is_colour:
        entries = [
            (colour, 'color_{:02x}{:02x}{:02x}'.format(*colour))
            for colour, _ in _largest(values)
        ]
        said.append(f'{len(entries)} colours found, the most frequent first')
    elif entries is None:
        entries, what = _grey_classes(sorted(v[0] for v in values), classes)
        said.append(what)
    void_colours = {_void_colour(word, entries, is_colour) for word in void}
    if not is_colour and (VOID,) * 3 not in {c for c, _ in entries}:
        void_colours.add((VOID,) * 3)
    kept = [(c, name) for c, name in entries if c not in void_colours]
    names = [name for _, name in kept]
    if classes is not None:
        if len(classes) != len(kept):
            raise ConfigError(
                f'--classes has {len(classes)} names, and there are '
                f'{len(kept)} classes: {", ".join(names)}'
            )
        names = list(classes)
    return Palette([c for c, _ in kept], names, void_colours), said


def _grey_classes(
    values: list[int], classes: Sequence[str] | None
) -> tuple[list[tuple[Colour, str]], str]:
    if values == [0, VOID]:
        names = [((0,) * 3, 'background'), ((VOID,) * 3, 'object')]
        return names, 'values 0 and 255 become the indices 0 and 1'
    known = [value for value in values if value != VOID]
    most = max(known, default=0)
    if most < max(MOST_CLASSES, len(classes or ())):
        indices = range(max(most + 1, len(classes or ())))
        kept = [((i,) * 3, f'class_{i}') for i in indices]
        return kept, f'values up to {most} are the indices of the classes'
    entries = [((value,) * 3, f'value_{value}') for value in known]
    listed = ', '.join(map(str, known))
    return entries, f'values {listed} become the indices 0, 1, ...'


def _void_colour(
    word: str, entries: list[tuple[Colour, str]], is_colour: bool
) -> Colour:
    for colour, name in entries:
        if word == name:
            return colour
    if word.isdigit() and not is_colour and int(word) <= 255:
        return (int(word),) * 3
    try:
        return _colour(word, '--void')
    except ConfigError as error:
        names = ', '.join(name for _, name in entries)
        raise ConfigError(
            f'--void {word!r} is neither a class ({names}) nor a colour'
        ) from error


def _write(
    pair: Pair, out: Path, table: Palette, suffix: str, as_colours: bool
) -> Counter:
    """Write a picture and its label image; returns pixels of each class."""
    codes = _encode(_read(pair, as_colours))
    indices = np.full(codes.shape, VOID, np.uint8)
    for index, (red, green, blue) in enumerate(table.colours):
        indices[codes == (red << 16 | green << 8 | blue)] = index
    picture = out / 'img_dir' / pair.split / f'{pair.name}{suffix}'
    labels = out / 'ann_dir' / pair.split / f'{pair.name}.png'
    for file in (picture, labels):
        file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(indices).save(labels)
    if pair.picture.suffix == suffix:
        link_or_copy(pair.picture, picture)
    else:
        with Image.open(pair.picture) as image:
            upright = ImageOps.exif_transpose(image)
            if suffix.lower() in ('.jpg', '.jpeg'):
                upright = upright.convert('RGB')
            upright.save(picture, quality=95)
    counts = np.bincount(indices.ravel(), minlength=256)
    return Counter(
        {name: int(n) for name, n in zip(table.names, counts)}
        | ({'(void)': int(counts[VOID])} if counts[VOID] else {})
    )


def _largest(counts: dict[Colour, int]) -> list[tuple[Colour, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _spell(colour: Colour) -> str:
    return '{} {} {}'.format(*colour)
