# Copyright (c) mmfft authors. All rights reserved.
"""Lists of training and validation for a folder of classes."""

import hashlib
from collections import Counter, defaultdict
from pathlib import Path

from PIL import Image

from ...errors import ConfigError
from ..check.problems import Overview, Problem
from ..own_data import PICTURES, SPLITS, folder_names
from .splits import split


def split_folders(
    root: str | Path, val_fraction: float = 0.2, seed: int = 0
) -> tuple[Overview, list[Problem]]:
    """Write ``train.txt`` and ``val.txt`` for a folder of classes.

    A line is ``class/file.jpg label``, as mmpretrain's ``CustomDataset`` reads
    it; labels follow the sorted names of the folders. Each class is split by
    itself. Files of the same content stay together, or a model would be
    validated on what it was trained on.

    Args:
        root (str | Path): Folder with a folder a class.
        val_fraction (float): Fraction of each class for validation. Defaults
            to 0.2.
        seed (int): Seed of the split. Defaults to 0.

    Returns:
        tuple[Overview, list[Problem]]: Images of each class in each split, and
        what was left out and why.

    Raises:
        ConfigError: If the folder does not exist, has fewer than two classes,
            or has been split already.
    """
    root = Path(root)
    if not root.is_dir():
        raise ConfigError(f"'{root}' is not a folder")
    for name in SPLITS:
        for there in (root / name, root / f'{name}.txt'):
            if there.exists():
                raise ConfigError(
                    f"'{there}' exists: the folder has been split already"
                )
    names = folder_names(root)
    if len(names) < 2:
        raise ConfigError(
            f"'{root}' has {len(names)} folders, and needs one a class, two "
            'at least'
        )
    problems, classes_of = [], defaultdict(set)
    contents: dict[str, dict[str, list[str]]] = {}
    for name in names:
        contents[name] = groups = defaultdict(list)
        for file in sorted((root / name).rglob('*')):
            if not file.is_file():
                continue
            problem = _problem_of(file)
            if problem is not None:
                problems.append(problem)
                continue
            content = hashlib.sha1(file.read_bytes()).hexdigest()
            groups[content].append(file.relative_to(root).as_posix())
            classes_of[content].add(name)
        if not groups:
            problems.append(
                Problem('no picture', str(root / name), 'an empty class')
            )
    overview = Overview()
    overview.classes = {name: Counter() for name in SPLITS}
    lines: dict[str, list[str]] = {name: [] for name in SPLITS}
    for label, (name, groups) in enumerate(contents.items()):
        # Named by their first files, which are the same on every machine.
        together = {files[0]: files for files in groups.values()}
        for content, files in groups.items():
            if len(classes_of[content]) > 1:
                others = ', '.join(sorted(classes_of[content] - {name}))
                what = f'the same picture is in {others}'
                problems.append(Problem('two classes', files[0], what))
        chosen = dict(zip(SPLITS, split(list(together), val_fraction, seed)))
        for part, firsts in chosen.items():
            files = sorted(file for f in firsts for file in together[f])
            lines[part] += [f'{file} {label}' for file in files]
            overview.classes[part][name] = len(files)
    for part in SPLITS:
        overview[part] = overview.used[part] = len(lines[part])
        (root / f'{part}.txt').write_text(
            '\n'.join(lines[part]) + '\n', encoding='utf-8'
        )
    return overview, problems


def _problem_of(file: Path) -> Problem | None:
    if file.suffix.lower() not in PICTURES:
        return Problem('no image', str(file), 'left out')
    try:
        with Image.open(file) as image:
            image.verify()
    # Pillow raises what its decoders raise.
    except Exception as error:
        what = f'{type(error).__name__}: {error}: left out'
        return Problem('cannot be read', str(file), what)
    return None
