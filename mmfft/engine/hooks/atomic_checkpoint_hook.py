# Copyright (c) mmfft authors. All rights reserved.
"""Checkpoints that a kill or a full disk cannot spoil."""

import os
import shutil
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook

from ...checkpoints import register_allowed_globals
from ...checkpoints.writing import make_readable
from ...errors import ConfigError
from ...registry import HOOKS
from ..resume import (
    average_over_processes,
    decide,
    find_newest,
    find_unfinished,
    undecided,
)

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
      the run stops; if there are none, it starts from the beginning, with
      the weights of ``load_from`` if the config has any.
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
        if not (self._local and undecided(runner)):
            return
        folder = Path(runner.work_dir)
        if self.out_dir is not None:
            folder = Path(self.out_dir) / folder.name
        pointer = Path(runner.work_dir, 'last_checkpoint')
        decide(
            runner,
            lambda: find_newest(
                folder, self.filename_tmpl, pointer, runner._load_from
            ),
        )
        if is_main_process():
            for file in find_unfinished(folder, self.filename_tmpl):
                file.unlink()
                runner.logger.info(f'Removed {file}, left by a killed run')

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Note the files that the saving process was yet to remove."""
        # A FlexibleRunner may have found the file by itself.
        if runner._resume is True and runner._load_from is not None:
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
        average_over_processes(runner)
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
