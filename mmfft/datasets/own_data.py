# Copyright (c) mmfft authors. All rights reserved.
"""Data of the user's own: what follows from a folder, its classes and a size.

The configs in ``configs/custom`` call :func:`coco`, :func:`class_folders` and
:func:`label_images` with the three lines that a user edits. What a
command line or a config that inherits from them says instead counts before
anything is derived, see :func:`read_config`.
"""

import json
from collections.abc import Sequence
from contextvars import ContextVar
from pathlib import Path

from mmengine.config import Config

from ..errors import ConfigError
from ..runtime.prediction import class_colour

SETTINGS = ('data_root', 'classes', 'img_size')
SPLITS = ('train', 'val')
PICTURES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')
# Where COCO's annotations and pictures of a split are looked for, in order.
_ANNOTATIONS = (
    '{}.json',
    'annotations/{}.json',
    'annotations/instances_{}.json',
    'annotations/instances_{}2017.json',
)
_PREFIXES = ('', '{}', 'images', 'images/{}', '{}2017', 'JPEGImages')

_reading: ContextVar[tuple[dict, dict]] = ContextVar('reading')


def read_config(file: str | Path, settings: dict) -> tuple[Config, set[str]]:
    """Read a config, of which everything follows from its settings.

    A setting is, in this order, what a command line gives, what the config
    itself says, and what its bases say. mmengine alone would let a base
    derive everything from its own line, whatever a config that inherits from
    it says later.

    Args:
        file (str | Path): Path of the config.
        settings (dict): Settings of a command line, by name; names that are
            not among ``SETTINGS`` are ignored.

    Returns:
        tuple[Config, set[str]]: Config, in which the settings of the command
        line are not merged, and the names of those from which it derives
        others.
    """
    cfg, used = _read(file, settings)
    said = {
        name: cfg[name]
        for name, value in used.items()
        if name not in settings and name in cfg and cfg[name] != value
    }
    if said:
        cfg, used = _read(file, {**said, **settings})
    return cfg, set(used)


def _read(file: str | Path, settings: dict) -> tuple[Config, dict]:
    used: dict = {}
    token = _reading.set((settings, used))
    try:
        return Config.fromfile(file), used
    finally:
        _reading.reset(token)


def coco(
    data_root: str,
    classes: Sequence[str] | None,
    img_size: int | tuple[int, int],
) -> dict:
    """Find annotations in COCO's form and their pictures below a folder.

    Annotations are ``train.json`` and ``val.json``, there or in
    ``annotations/``, where they may also be called
    ``instances_{train,val}.json``. Pictures are where the names of the files
    lead, from the folder itself or from ``train``, ``images`` and such.

    Args:
        data_root (str): Folder with the annotations.
        classes (Sequence[str], optional): Names of the classes; None takes
            the categories of the training annotations, in their order.
        img_size (int | tuple[int, int]): Image size ``(H, W)``, or the side
            of a square.

    Returns:
        dict: ``data_root``, ``img_size``, ``num_classes``, ``metainfo``, and
        for ``train`` and ``val`` the ``ann_file`` and ``data_prefix`` of
        mmdet's ``CocoDataset``. Names of what does not exist are kept as
        they should be, so that a run says what is missing.

    Raises:
        ConfigError: If a setting is of another kind, or an annotation file
            is not in COCO's form.
    """
    root, classes, size = _settings(data_root, classes, img_size)
    data = {}
    for split in SPLITS:
        names = [name.format(split) for name in _ANNOTATIONS]
        ann_file = next((n for n in names if (root / n).is_file()), names[0])
        content = _read_coco(root / ann_file)
        prefix = ''
        if content['images']:
            picture = content['images'][0]['file_name']
            prefixes = [prefix.format(split) for prefix in _PREFIXES]
            prefix = next(
                (p for p in prefixes if (root / p / picture).is_file()), ''
            )
        data[split] = dict(ann_file=ann_file, data_prefix=dict(img=prefix))
        if classes is None and split == 'train':
            classes = tuple(c['name'] for c in content['categories']) or None
    source = root / data['train']['ann_file']
    return dict(_common(root, classes, size, source), **data)


def class_folders(
    data_root: str,
    classes: Sequence[str] | None,
    img_size: int | tuple[int, int],
) -> dict:
    """Find folders of classes, as mmpretrain's ``CustomDataset`` reads them.

    Either ``train`` and ``val`` hold a folder a class, or the folder itself
    does, and the lists ``train.txt`` and ``val.txt`` say which pictures
    belong to which split.

    Args:
        data_root (str): Folder with the pictures.
        classes (Sequence[str], optional): Names of the classes; None takes
            the names of the folders, sorted.
        img_size (int | tuple[int, int]): Image size ``(H, W)``, or the side
            of a square.

    Returns:
        dict: ``data_root``, ``img_size``, ``num_classes``, ``metainfo``, and
        for ``train`` and ``val`` the ``ann_file`` and ``data_prefix`` of
        mmpretrain's ``CustomDataset``.

    Raises:
        ConfigError: If a setting is of another kind.
    """
    root, classes, size = _settings(data_root, classes, img_size)
    listed = all((root / f'{split}.txt').is_file() for split in SPLITS)
    data = {
        split: dict(ann_file=f'{split}.txt', data_prefix='')
        if listed
        else dict(ann_file='', data_prefix=split)
        for split in SPLITS
    }
    folder = root if listed else root / 'train'
    if classes is None and folder.is_dir():
        classes = tuple(folder_names(folder)) or None
    return dict(_common(root, classes, size, folder), **data)


def label_images(
    data_root: str,
    classes: Sequence[str] | None,
    img_size: int | tuple[int, int],
) -> dict:
    """Find pictures and label images in mmsegmentation's customary layout.

    Pictures are ``img_dir/{train,val}/NAME.jpg`` (or another ending, one for
    all of them), label images ``ann_dir/{train,val}/NAME.png`` with the index
    of a class in each pixel, and 255 where there is none.

    Args:
        data_root (str): Folder with ``img_dir`` and ``ann_dir``.
        classes (Sequence[str], optional): Names of the classes; None takes
            the lines of ``classes.txt``.
        img_size (int | tuple[int, int]): Image size ``(H, W)``, or the side
            of a square.

    Returns:
        dict: ``data_root``, ``img_size``, ``num_classes``, ``metainfo``,
        ``img_suffix``, and for ``train`` and ``val`` the ``data_prefix`` of
        mmseg's ``BaseSegDataset``.

    Raises:
        ConfigError: If a setting is of another kind, or the pictures have
            several endings.
    """
    root, classes, size = _settings(data_root, classes, img_size)
    names = root / 'classes.txt'
    if classes is None and names.is_file():
        lines = names.read_text(encoding='utf-8').splitlines()
        classes = tuple(filter(None, map(str.strip, lines))) or None
    folder = root / 'img_dir'
    suffixes = sorted(
        {
            file.suffix
            for split in SPLITS  # which may be links
            for file in (folder / split).rglob('*')
            if file.suffix.lower() in PICTURES
        }
    )
    if len(suffixes) > 1:
        raise ConfigError(
            f"the pictures in '{folder}' end with {' and '.join(suffixes)}, "
            'but the data set takes one ending: convert some of them'
        )
    data = {
        split: dict(
            data_prefix=dict(
                img_path=f'img_dir/{split}', seg_map_path=f'ann_dir/{split}'
            )
        )
        for split in SPLITS
    }
    suffix = suffixes[0] if suffixes else '.jpg'
    common = _common(root, classes, size, folder, ('background', 'object'))
    return dict(common, img_suffix=suffix, **data)


def folder_names(folder: Path) -> list[str]:
    """Names of the folders in a folder, sorted, but for hidden ones."""
    return sorted(
        entry.name
        for entry in folder.iterdir()
        if entry.is_dir() and not entry.name.startswith(('.', '__'))
    )


def _common(
    root: Path,
    classes: tuple[str, ...] | None,
    size: tuple[int, int],
    source: Path,
    stand_ins: tuple[str, ...] = ('object',),
) -> dict:
    if classes is None:
        if source.exists():
            raise ConfigError(
                f"classes=None: '{source}' names no classes: name them in "
                'the config, or with --cfg-options classes=NAME,NAME'
            )
        # Without data, the config can still be read and its model built.
        classes = stand_ins
    return dict(
        data_root=root.as_posix(),
        img_size=size,
        num_classes=len(classes),
        metainfo=dict(
            classes=classes,
            palette=[class_colour(label) for label in range(len(classes))],
        ),
    )


def _settings(
    data_root, classes, img_size
) -> tuple[Path, tuple[str, ...] | None, tuple[int, int]]:
    values = dict(zip(SETTINGS, (data_root, classes, img_size)))
    settings, used = _reading.get(({}, {}))
    values |= {name: settings[name] for name in SETTINGS if name in settings}
    used |= values
    root, classes, size = values.values()
    if not isinstance(root, str) or not root:
        raise ConfigError(f'data_root={root!r} must be the path of a folder')
    if isinstance(classes, (str, int)):  # one class, from a command line
        classes = (classes,)
    if classes is not None:
        classes = tuple(map(str, classes))
        if not classes or len(set(classes)) < len(classes):
            raise ConfigError(
                f'classes={classes!r} must be different names, or None'
            )
    if isinstance(size, int):
        size = (size, size)
    if (
        not isinstance(size, Sequence)
        or len(size) != 2
        or not all(isinstance(n, int) and n > 0 for n in size)
    ):
        raise ConfigError(
            f'img_size={size!r} must be (height, width) in pixels'
        )
    return Path(root), classes, tuple(size)


def _read_coco(file: Path) -> dict:
    nothing = dict(images=[], categories=[])
    if not file.is_file():
        return nothing
    try:
        content = json.loads(file.read_text(encoding='utf-8'))
        named = [image['file_name'] for image in content['images'][:1]]
        named += [category['name'] for category in content['categories']]
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigError(
            f"'{file}' is not in COCO's form ({type(error).__name__}: "
            f'{error}): it needs images with file_name and categories with '
            'name'
        ) from error
    return content
