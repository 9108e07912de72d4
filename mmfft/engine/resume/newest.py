# Copyright (c) mmfft authors. All rights reserved.
"""Which checkpoint a run continues from, decided once for all processes."""

import os
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from string import Formatter

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.runner import BaseLoop, Runner

from ...checkpoints import read_file
from ...errors import ConfigError

# Values of ``resume`` in a config beside mmengine's: the newest checkpoint in
# the work directory; if there is none, load_from counts as if resume was
# False, or True.
NEWEST = 'auto'
NEWEST_ELSE_FILE = 'auto, else load_from'

# What a checkpoint must contain so that training can continue from it.
_STATE = ('meta', 'state_dict', 'message_hub', 'optimizer')
_ENDINGS = ('.pth', '.pt', '.ckpt')


def undecided(runner) -> bool:
    """Whether a run is to continue from its newest checkpoint, if any.

    Args:
        runner (Runner): Runner that has not loaded a checkpoint. One that
            only validates or tests has nothing to continue: a value of
            ``resume`` that is not mmengine's then becomes False.

    Returns:
        bool: Whether :func:`decide` must be called.
    """
    if runner._resume in (NEWEST, NEWEST_ELSE_FILE):
        trains = not isinstance(runner, Runner) or isinstance(
            runner._train_loop, BaseLoop
        )
        if trains or runner._load_from is None:
            return True
        runner._resume = False
    # In a FlexibleRunner, _resume may also be a path.
    return runner._resume is True and runner._load_from is None


def decide(runner, find: Callable[[], tuple[str | None, list[str]]]) -> None:
    """Set the checkpoint that a run resumes from, or the weights it loads.

    Args:
        runner (Runner): Runner that is :func:`undecided`.
        find (Callable): Function that returns the path of the newest
            checkpoint, or None, and what was passed over, as
            :func:`find_newest` does. Only process 0 calls it.

    Raises:
        ConfigError: If there are checkpoints, but none to resume from.
    """
    found = [None, []]
    if is_main_process():
        found = list(find())
        for reason in found[1]:
            runner.logger.warning(f'--resume passed over {reason}')
    # One process decides for all.
    broadcast_object_list(found)
    newest, passed_over = found
    if newest is not None:
        runner._resume, runner._load_from = True, newest
        return
    if passed_over:
        raise ConfigError(
            '--resume: none of the checkpoints can be resumed from:\n  '
            + '\n  '.join(passed_over)
            + '\nTo resume from another checkpoint, give its path; to '
            'start over, omit --resume or move these files away'
        )
    runner._resume = runner._resume == NEWEST_ELSE_FILE
    if runner._resume:
        start = f'resuming from load_from={runner._load_from!r}'
    elif runner._load_from is not None:
        start = (
            'starting from the beginning, with the weights of '
            f'load_from={runner._load_from!r}'
        )
    else:
        start = 'starting from the beginning'
    runner.logger.info(f'No checkpoint to resume from: {start}')


def find_newest(
    folder: Path,
    template: str,
    pointer: Path,
    load_from: str | None = None,
) -> tuple[str | None, list[str]]:
    """Find the newest checkpoint of a run from which training can continue.

    It is the one that ``last_checkpoint`` names, or one that was finished
    after it; if that file is torn, the one before it, and so on.

    Args:
        folder (Path): Folder of the checkpoints.
        template (str): Name of a checkpoint for ``str.format`` with a number,
            such as ``'epoch_{}.pth'`` or ``'{0:03d}.pt'``.
        pointer (Path): Path of the run's ``last_checkpoint``; the file may be
            missing.
        load_from (str, optional): File that only has weights to start with;
            it is not named as passed over. Defaults to none.

    Returns:
        tuple[str | None, list[str]]: Path, or None if there is none; and the
        files that were passed over, each with the reason. A best checkpoint
        is not the newest, and is named only if there is no other.
    """
    template = os.path.normpath(template)
    endings = {*_ENDINGS, Path(template.replace('{', '')).suffix} - {''}
    files, passed_over, best = {}, [], []
    places = {*folder.glob('*'), *folder.glob(_like(template))}
    for file in sorted(places):
        number = number_of(template, str(file.relative_to(folder)))
        if number is not None:
            files[number] = file
        elif (
            file.suffix not in endings
            or file.name.startswith('.')
            or (load_from and _same(file, Path(load_from)))
        ):
            continue
        elif file.name.startswith('best_'):
            best.append(f'{file}: a best checkpoint, not the newest')
        else:
            passed_over.append(
                f'{file}: not a checkpoint of this run, which has {template}'
            )
    named = Path(_text(pointer))
    depth = _like(template).count(os.sep) + 1
    last = number_of(template, os.sep.join(named.parts[-depth:]))
    for number in sorted(files, reverse=True):
        file = files[number]
        if (
            last is not None
            and number > last
            and file.stat().st_mtime < pointer.stat().st_mtime
        ):
            passed_over.append(
                f'{file}: of an earlier run, older than {pointer}'
            )
        elif reason := _not_whole(file):
            passed_over.append(f'{file}: {reason}')
        else:
            return str(file), passed_over
    passed_over += best
    if named.is_file() and named.resolve() not in {
        place.resolve() for place in places
    }:
        passed_over.append(
            f'{named}: named by {pointer}, but this run has '
            f'{folder / template}'
        )
    return None, passed_over


def find_unfinished(folder: Path, template: str) -> list[Path]:
    """Find the hidden files of checkpoints that were not written to the end.

    Args:
        folder (Path): Folder of the checkpoints.
        template (str): Name of a checkpoint, as for :func:`find_newest`.

    Returns:
        list[Path]: Paths of the files.
    """
    template = os.path.normpath(template)
    parent, _, _ = _like(template).rpartition('*')
    unfinished = []
    for file in sorted(
        {*folder.glob('.*.tmp'), *folder.glob(f'{parent}.*.tmp')}
    ):
        whole = file.relative_to(folder).with_name(file.name[1:-4])
        if (
            whole.suffix == '.pth'
            or whole.name.startswith('best_')
            or number_of(template, str(whole)) is not None
        ):
            unfinished.append(file)
    return unfinished


def _like(template: str) -> str:
    """Pattern of all files that are as deep in the folder."""
    return os.sep.join('*' for _ in template.split(os.sep))


def number_of(template: str, name: str) -> int | None:
    """Find the number for which a template gives a name.

    Args:
        template (str): Template for ``str.format`` with one number.
        name (str): Name that may be of this template.

    Returns:
        int | None: Number, 0 for a template without a field, or None if it is
        another name.
    """
    pattern = ''.join(
        re.escape(text) + ('' if field is None else '(.+?)')
        for text, field, *_ in Formatter().parse(template)
    )
    match = re.fullmatch(pattern, name)
    if match:
        for number in _readings(match[1] if match.groups() else '0'):
            if template.format(number) == name:
                return number
    return None


def _readings(text: str) -> Iterator[int]:
    """Numbers that a text may stand for, whatever format it has."""
    digits = re.sub(r'\D', '', text)
    readings = [lambda: int(digits)]
    readings += [lambda base=base: int(text, base) for base in (16, 8, 2)]
    readings += [lambda: int(float(text))]
    for read in readings:
        try:
            yield read()
        except (ValueError, OverflowError):
            continue


def _same(file: Path, other: Path) -> bool:
    return other.exists() and file.samefile(other)


def _text(file: Path) -> str:
    return file.read_text(errors='replace').strip() if file.exists() else ''


def _not_whole(file: Path) -> str | None:
    """Reason why a file cannot be resumed from, or None if it can."""
    if file.is_dir():
        # It is from DeepSpeed, and only DeepSpeed can read it.
        return None
    try:
        # torch does not verify the checksums that it writes.
        with zipfile.ZipFile(file) as archive:
            broken = archive.testzip()
        if broken:
            return f'torn, {broken} in it does not match its checksum'
        checkpoint = read_file(str(file), map_location='cpu')
    except (OSError, zipfile.BadZipFile) as error:
        return f'torn or not a checkpoint ({error})'
    except ConfigError as error:
        return str(error).removeprefix(f'checkpoint {str(file)!r} ')
    return why_not_resumable(checkpoint)


def why_not_resumable(checkpoint: dict) -> str | None:
    """Reason why training cannot continue from a checkpoint.

    Args:
        checkpoint (dict): Checkpoint as read from a file.

    Returns:
        str | None: What it lacks, and why, or None if it lacks nothing.
    """
    missing = [key for key in _STATE if key not in checkpoint]
    if missing == ['optimizer']:
        return (
            'without optimizer, as best checkpoints are, and all if '
            'default_hooks.checkpoint.save_optimizer=False'
        )
    if missing:
        return f'only weights, without {", ".join(missing)}'
    return None
