# Copyright (c) mmfft authors. All rights reserved.
"""Writing of the files by several processes, and of the whole folder."""

import contextlib
import hashlib
import importlib.metadata
import json
import multiprocessing
import os
import shutil
import signal
import uuid
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from ...errors import require_whole_number
from .annotations import annotate, as_coco, count
from .config import (
    CLASSES,
    NAME,
    SCENE_FOLDERS,
    SPLITS,
    VERSION,
    DigitScenesConfig,
)
from .paint import make_crop, make_scene
from .sources import DISTRIBUTIONS, Source, require_packages

_JOB: tuple = ()  # source, config and folder, set once in each worker


def _start_worker(*job) -> None:
    global _JOB
    _JOB = job
    # The parent handles Ctrl-C and stops the workers.
    if multiprocessing.parent_process() is not None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _save(array: np.ndarray, path: Path) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    # Twice as fast as the default level 6; files are 5 % larger.
    Image.fromarray(array).save(path, format='PNG', compress_level=3)


def _write_item(item: tuple[str, str, int]) -> dict:
    """Make and write one picture; return its record for the annotations."""
    kind, split, index = item
    source, config, root = _JOB
    if kind == 'crop':
        image, record = make_crop(source, config, split, index)
        name = f'{CLASSES[record["label"]]}/{index:05d}.png'
        _save(image, root / 'crops' / split / name)
        return dict(file_name=name, **record)

    image, owner, record = make_scene(source, config, split, index)
    name = f'{index + 1:06d}.png'
    folder = SCENE_FOLDERS[split]
    labels = source.labels[record['digits']]
    classes = np.array([0, *labels + 1], np.uint8)
    _save(image, root / 'scenes' / 'images' / folder / name)
    _save(classes[owner], root / 'scenes' / 'annotations' / folder / name)
    return dict(
        file_name=name,
        photo=record['photo'],
        height=owner.shape[0],
        width=owner.shape[1],
        annotations=annotate(owner, labels, record['digits']),
    )


def _run(items: list, job: tuple, workers: int) -> Iterator[dict]:
    """Make all pictures in several processes; yield the records in order."""
    # A process takes a second to start, which few items do not repay.
    workers = min(workers, 1 + len(items) // 128)
    if workers == 1:
        _start_worker(*job)
        yield from map(_write_item, items)
        return
    # Spawned, since forking is not safe with the threads of torch or rich.
    pool = ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context('spawn'),
        initializer=_start_worker,
        initargs=job,
    )
    try:
        yield from pool.map(_write_item, items, chunksize=16)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _write_json(content, path: Path, indent: int | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=indent) + '\n', 'utf-8')


def _files(root: Path) -> list[Path]:
    """List all files of a data set except the manifest, in a fixed order."""
    return sorted(
        path.relative_to(root)
        for path in root.rglob('*')
        if not path.is_dir() and path != root / 'meta.json'
    )


def content_hash(root) -> str:
    """Compute the sha256 of names and content of all files.

    The manifest is left out: it contains the result as ``sha256``, so that
    changes of the files can be detected.

    Args:
        root (str | Path): Folder of a data set.

    Returns:
        str: The sha256 in hexadecimal digits.
    """
    root = Path(root)
    total = hashlib.sha256()
    for path in _files(root):
        content = hashlib.sha256((root / path).read_bytes()).hexdigest()
        total.update(f'{content}  {path.as_posix()}\n'.encode())
    return total.hexdigest()


def _build(
    root: Path, config: DigitScenesConfig, workers: int, progress: bool
) -> dict:
    """Write a whole data set into an empty folder; return its manifest."""
    from rich.progress import track

    source = Source.load()
    items = [
        (kind, split, index)
        for kind in ('crop', 'scene')
        for split in SPLITS
        for index in range(getattr(config, f'{split}_{kind}s'))
    ]
    records = defaultdict(list)
    # Close the pool before the folder to which it writes is removed.
    with contextlib.closing(
        _run(items, (source, config, root), workers)
    ) as results:
        shown = track(
            results, description=NAME, total=len(items), disable=not progress
        )
        for (kind, split, _), record in zip(items, shown):
            records[kind, split].append(record)

    counts = {}
    for split in SPLITS:
        crops, scenes = records['crop', split], records['scene', split]
        folder = SCENE_FOLDERS[split]
        _write_json(crops, root / 'crops' / f'{split}.json')
        _write_json(
            as_coco(scenes, split),
            root / 'scenes' / 'annotations' / f'instances_{folder}.json',
        )
        # Make the folders that no picture needed as well.
        for path in (
            *(root / 'crops' / split / label for label in CLASSES),
            root / 'scenes' / 'images' / folder,
            root / 'scenes' / 'annotations' / folder,
        ):
            path.mkdir(parents=True, exist_ok=True)
        counts[split] = count(crops, scenes)
    manifest = _manifest(root, config, source, counts)
    # Last, so that a folder with a manifest is a complete data set.
    _write_json(manifest, root / 'meta.json', indent=2)
    return manifest


def _manifest(
    root: Path, config: DigitScenesConfig, source: Source, counts: dict
) -> dict:
    """Make the manifest: arguments, counts, sources and hash."""
    return dict(
        name=NAME,
        version=VERSION,
        config=config.as_json(),
        counts=counts,
        classes=list(CLASSES),
        files=len(_files(root)),
        sha256=content_hash(root),
        # Other versions of these may round differently.
        packages={
            package: importlib.metadata.version(package)
            for package in ('numpy', *DISTRIBUTIONS.values())
        },
        sources=source.as_json(),
        split={
            split: dict(
                photos=sorted(source.photos[split]),
                digits=source.digits[split].tolist(),
            )
            for split in SPLITS
        },
    )


def _existing(
    out_dir: Path, config: DigitScenesConfig, overwrite: bool
) -> dict | None:
    """Return the manifest of the same data set if it exists already.

    None is returned if ``out_dir`` does not exist, is empty, or holds a data
    set that is to be overwritten.

    Raises:
        FileExistsError: If ``out_dir`` holds anything else.
    """
    if not out_dir.exists():
        return None
    if not out_dir.is_dir():
        raise FileExistsError(
            f'{out_dir} is not a folder: give another out_dir'
        )
    entries = {entry.name for entry in os.scandir(out_dir)}
    if not entries:
        return None
    try:
        manifest = json.loads((out_dir / 'meta.json').read_text('utf-8'))
        ours = manifest['name'] == NAME and entries <= {
            'meta.json',
            'crops',
            'scenes',
        }
    except (OSError, ValueError, KeyError, TypeError):
        ours = False
    if not ours:
        raise FileExistsError(
            f'{out_dir} does not hold a {NAME} data set and is left alone: '
            'give another out_dir'
        )
    if overwrite:
        return None
    if (manifest.get('version'), manifest.get('config')) != (
        VERSION,
        config.as_json(),
    ):
        raise FileExistsError(
            f'{out_dir} holds a {NAME} data set of version '
            f'{manifest.get("version")} made with {manifest.get("config")}; '
            f'version {VERSION} with {config.as_json()} was requested: give '
            'another out_dir or overwrite it'
        )
    found = len(_files(out_dir))
    if found != manifest.get('files'):
        raise FileExistsError(
            f'{out_dir} holds {found} files, but its manifest says '
            f'{manifest.get("files")}: give another out_dir or overwrite it'
        )
    return manifest


def make_digit_scenes(
    out_dir,
    config: DigitScenesConfig | None = None,
    workers: int | None = None,
    progress: bool = True,
    overwrite: bool = False,
) -> dict:
    """Make the DigitScenes data set, unless it exists already.

    The files are written to a hidden folder beside ``out_dir``, which is
    renamed at the end, so that ``out_dir`` is never incomplete. The same
    arguments give the same bytes, whatever the number of workers.

    With more than one worker, the calling script needs the usual
    ``if __name__ == '__main__':``, since the processes are spawned.

    Args:
        out_dir (str | Path): Folder of the data set.
        config (DigitScenesConfig, optional): Arguments of the data set.
            Defaults to ``DigitScenesConfig()``.
        workers (int, optional): Number of processes. Defaults to the number
            of CPUs.
        progress (bool): Whether to show a progress bar. Defaults to True.
        overwrite (bool): Whether to replace a DigitScenes data set at
            ``out_dir``. A folder with any other content is never replaced.
            Defaults to False.

    Returns:
        dict: The manifest (``meta.json``), with a key ``created`` that says
        whether the data set was made by this call.

    Raises:
        FileExistsError: If ``out_dir`` holds anything else.
        ImportError: If a package of ``mmfft[demo]`` is missing.
        ConfigError: If an argument cannot be used (a ValueError).
    """
    config = config or DigitScenesConfig()
    workers = (os.cpu_count() or 1) if workers is None else workers
    require_whole_number('workers', workers, 1)
    # If it is a link, fill its target and keep the link.
    out_dir = Path(out_dir).expanduser().resolve()
    manifest = _existing(out_dir, config, overwrite)
    if manifest is not None:
        return dict(manifest, created=False)

    require_packages()
    stamp = uuid.uuid4().hex[:8]
    new = out_dir.with_name(f'.{out_dir.name}.{stamp}.new')
    old = out_dir.with_name(f'.{out_dir.name}.{stamp}.old')
    new.mkdir(parents=True)
    try:
        manifest = _build(new, config, workers, progress)
        # Check again: another process may have made it in the meantime.
        faster = _existing(out_dir, config, overwrite)
        if faster is not None:
            return dict(faster, created=False)
        if out_dir.exists():
            out_dir.rename(old)
        try:
            new.rename(out_dir)
        except OSError:
            if old.exists():
                old.rename(out_dir)
            raise
    finally:
        shutil.rmtree(new, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
    return dict(manifest, created=True)
