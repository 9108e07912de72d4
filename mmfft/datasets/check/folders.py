# Copyright (c) mmfft authors. All rights reserved.
"""What folders have, to say so where something is not found."""

import os
from collections import Counter
from collections.abc import Iterable


def describe(folder: str) -> str:
    """Say in words what a folder of this disk has.

    Args:
        folder (str): Path of the folder.

    Returns:
        str: The number of files by ending, and the folders within.
    """
    if not os.path.isdir(folder):
        parent = os.path.dirname(os.path.normpath(folder)) or '.'
        above = f'; {describe(parent)}' if parent != folder else ''
        return f'the folder {folder!r} does not exist{above}'
    files, folders = _entries(folder)
    parts = []
    if files:
        parts.append(f'{len(files)} files ({_endings(files)}: {files[0]!r})')
    if folders:
        some = ', '.join(map(repr, folders[:3]))
        more = ', ...' if len(folders) > 3 else ''
        parts.append(f'{len(folders)} folders ({some}{more})')
        inner, _ = _entries(os.path.join(folder, folders[0]))
        if inner:
            parts.append(
                f'{folders[0]!r} has {len(inner)} ({_endings(inner)})'
            )
    return f'the folder {folder!r} has ' + (', '.join(parts) or 'nothing')


def common_ending(folder: str) -> str:
    """Find the most frequent ending of a folder's files, also below it.

    Args:
        folder (str): Path of the folder.

    Returns:
        str: Ending with its dot; empty if there are no files.
    """
    counts: Counter = Counter()
    for _, _, files in os.walk(folder):
        counts.update(_ending(name) for name in files if name[0] != '.')
    return counts.most_common(1)[0][0] if counts else ''


def not_there(paths: Iterable[str]) -> list[str]:
    """Find paths that do not exist; each folder is read only once.

    Args:
        paths (Iterable[str]): Paths of files on this disk.

    Returns:
        list[str]: Those that do not exist, in the same order.
    """
    known: dict[str, set] = {}
    missing = []
    for path in paths:
        folder, name = os.path.split(path)
        if folder not in known:
            known[folder] = _names(folder)
        if name not in known[folder]:
            missing.append(path)
    return missing


def _names(folder: str) -> set[str]:
    try:
        return set(os.listdir(folder or '.'))
    except OSError:
        return set()


def _entries(folder: str) -> tuple[list[str], list[str]]:
    with os.scandir(folder) as entries:
        found = sorted((entry.name, entry.is_dir()) for entry in entries)
    return (
        [name for name, is_folder in found if not is_folder],
        [name for name, is_folder in found if is_folder],
    )


def _endings(files: list[str]) -> str:
    counts = Counter(map(_ending, files)).most_common(4)
    return ', '.join(f'{ending or "none"}: {n}' for ending, n in counts)


def _ending(name: str) -> str:
    return os.path.splitext(name)[1]
