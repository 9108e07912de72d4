# Copyright (c) mmfft authors. All rights reserved.
"""Checkpoints that a kill or a full disk cannot spoil."""

import os
import re
import shutil
import zipfile
from pathlib import Path

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook

from ...checkpoints import read_file, register_allowed_globals
from ...checkpoints.writing import make_readable
from ...errors import ConfigError
from ...registry import HOOKS

# What a checkpoint must contain so that training can continue from it.
_STATE = ('meta', 'state_dict', 'message_hub', 'optimizer')
# Key in a checkpoint for the files that are to be removed once it is saved.
_OUTDATED = 'outdated_checkpoints'


class AtomicLocalBackend(LocalBackend):
    """Local files that appear under their names only when they are complete.

    mmengine's own backend writes in place. Here a file is written under
    another name in the same folder, flushed to the disk and renamed, which
    POSIX guarantees to be atomic; then the folder is flushed, so that the new
    name survives a power cut.
    """

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file.

        Args:
            obj (bytes): Content of the file.
            filepath (str or Path): Path of the file; an existing file is
                replaced.

        Raises:
            ConfigError: If the file cannot be written, for lack of space or
                permission. Nothing is left of it then, and a file that
                existed before is kept.
        """
        path = Path(filepath)
        temporary = _temporary(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary, 'wb') as file:
                file.write(obj)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            _flush_folder(path.parent)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise ConfigError(
                f'cannot write {str(path)!r}: {error.strerror} '
                f'({len(obj):,} bytes needed, {_free(path.parent)} free); '
                'what was saved before is kept, --resume continues from it'
            ) from error


# Under a name of its own, so that mmengine writes other files as before.
register_backend('mmfft_atomic', AtomicLocalBackend, force=True)


def _temporary(path: Path) -> Path:
    return path.with_name(f'.{path.name}.tmp')


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _free(folder: Path) -> str:
    try:
        return f'{shutil.disk_usage(folder).free:,}'
    except OSError:
        return 'unknown'


class _RemoveLater:
    """A file backend that only records what to remove, and how."""

    def __init__(self, backend, waiting: dict) -> None:
        self.backend = backend
        self.waiting = waiting

    def remove(self, path: str) -> None:
        self.waiting[path] = self.backend.remove

    def rmtree(self, path: str) -> None:
        self.waiting[path] = self.backend.rmtree

    def __getattr__(self, name: str):
        return getattr(self.backend, name)


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """mmengine's ``CheckpointHook``, safe against kills and full disks.

    - A checkpoint appears under its name only when it is complete and on the
      disk; ``last_checkpoint`` is written after it.
    - An outdated checkpoint, or a best one that is beaten, is removed after
      the new one is safe. During a save, the disk therefore holds one
      checkpoint more than ``max_keep_ckpts``.
    - Resuming without a given file (``--resume``) takes the newest complete
      checkpoint, logs which files it passed over, and deletes what killed
      runs left behind. If there are checkpoints but none can be resumed from,
      the run stops.
    - What could not be read again without running code, such as an object of
      a class of your own in the message hub, is left out of the checkpoint,
      with a warning at the first save.

    Args:
        *args: Arguments of mmengine's ``CheckpointHook``.
        **kwargs: Keyword arguments of mmengine's ``CheckpointHook``. With
            ``backend_args``, or an ``out_dir`` that is not local, files are
            written and found as by mmengine.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self._local = (
            self.backend_args is None
            and self.file_client_args is None
            and '://' not in str(self.out_dir)
        )
        if self._local:
            self.backend_args = dict(backend='mmfft_atomic')
        self._waiting = {}
        self._left_over = []
        self._warned = set()

    def before_run(self, runner) -> None:
        """Choose the checkpoint that ``--resume`` without a file resumes from.

        Args:
            runner (Runner): Runner that is about to load or resume.

        Raises:
            ConfigError: If there are checkpoints, but none to resume from.
        """
        # mmengine's own loading needs these if the process is not hardened.
        register_allowed_globals()
        # In a FlexibleRunner, _resume may also be a path.
        automatic = runner._resume is True and runner._load_from is None
        if not (automatic and self._local):
            return
        found = [None, []]
        if is_main_process():
            folder = Path(runner.work_dir)
            if self.out_dir is not None:
                folder = Path(self.out_dir) / folder.name
            pointer = Path(runner.work_dir, 'last_checkpoint')
            found = list(find_newest(folder, self.filename_tmpl, pointer))
            for reason in found[1]:
                runner.logger.warning(f'--resume passed over {reason}')
            for file in folder.glob('.*.pth.tmp'):
                file.unlink()
                runner.logger.info(f'Removed {file}, left by a killed run')
        # One process decides for all.
        broadcast_object_list(found)
        newest, passed_over = found
        if newest is None and passed_over:
            raise ConfigError(
                '--resume: none of the checkpoints can be resumed from:\n  '
                + '\n  '.join(passed_over)
                + '\nTo resume from another checkpoint, give its path; to '
                'start over, omit --resume or move these files away'
            )
        if newest is None:
            runner._resume = False
            runner.logger.info(
                'No checkpoint to resume from: starting from the beginning'
            )
        else:
            runner._load_from = newest

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Note the files that the saving process was yet to remove."""
        if runner._resume is True:
            folder = Path(runner._load_from).parent
            self._left_over = [
                # Only the name: a checkpoint must not reach other folders.
                folder / Path(name).name
                for name in checkpoint.get(_OUTDATED, [])
            ]

    def before_train(self, runner) -> None:
        """Prepare as mmengine does; remove what a killed run left behind."""
        super().before_train(runner)
        if is_main_process() and self._local:
            for file in self._left_over:
                # A run that continues elsewhere leaves the first one as it is.
                if file.exists() and file.parent.samefile(self.out_dir):
                    file.unlink()
        self.file_backend = _RemoveLater(self.file_backend, self._waiting)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Leave out what could not be read again; list files to be removed."""
        readable, left_out = make_readable(dict(checkpoint), 'checkpoint')
        for name, cls in left_out.items():
            if name not in self._warned:
                runner.logger.warning(
                    f'{name} ({cls}) is left out of the checkpoints: reading '
                    'it again would require running code. A resumed run '
                    'starts without it; numbers, strings, tensors, arrays and '
                    'containers of these are kept'
                )
        self._warned.update(left_out)
        checkpoint.clear()
        checkpoint.update(readable)
        checkpoint[_OUTDATED] = [Path(path).name for path in self._waiting]

    def _save_checkpoint_with_step(self, runner, step, meta) -> None:
        super()._save_checkpoint_with_step(runner, step, meta)
        self._remove_outdated()

    def _save_best_checkpoint(self, runner, metrics) -> None:
        super()._save_best_checkpoint(runner, metrics)
        self._remove_outdated()

    def _remove_outdated(self) -> None:
        best = getattr(self, 'best_ckpt_path_dict', {}).values()
        kept = {self.last_ckpt, getattr(self, 'best_ckpt_path', None), *best}
        for path, remove in self._waiting.items():
            if path not in kept:
                remove(path)
        self._waiting.clear()


def find_newest(
    folder: Path, template: str, pointer: Path
) -> tuple[str | None, list[str]]:
    """Find the newest checkpoint of a run from which training can continue.

    It is the one that ``last_checkpoint`` names, or one that was finished
    after it; if that file is torn, the one before it, and so on.

    Args:
        folder (Path): Folder of the checkpoints.
        template (str): Name of a checkpoint, such as ``'epoch_{}.pth'``.
        pointer (Path): Path of the run's ``last_checkpoint``; the file may be
            missing.

    Returns:
        tuple[str | None, list[str]]: Path, or None if there is none; and the
        files that were passed over, each with the reason. A best checkpoint
        is not the newest, and is named only if there is no other.
    """
    before, after = map(re.escape, template.split('{}'))
    name = re.compile(f'{before}(\\d+){after}')
    files, passed_over, best = {}, [], []
    for file in sorted(folder.glob('*.pth')):
        if match := name.fullmatch(file.name):
            files[int(match[1])] = file
        elif file.name.startswith('best_'):
            best.append(f'{file}: a best checkpoint, not the newest')
        else:
            passed_over.append(
                f'{file}: not a checkpoint of this run, which has {template}'
            )
    last = name.fullmatch(Path(_text(pointer)).name)
    for number in sorted(files, reverse=True):
        file = files[number]
        if (
            last
            and number > int(last[1])
            and file.stat().st_mtime < pointer.stat().st_mtime
        ):
            passed_over.append(
                f'{file}: of an earlier run, older than {pointer}'
            )
        elif reason := _not_whole(file):
            passed_over.append(f'{file}: {reason}')
        else:
            return str(file), passed_over
    return None, passed_over + best


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
    missing = [key for key in _STATE if key not in checkpoint]
    if missing:
        return f'only weights, without {", ".join(missing)}'
    return None
