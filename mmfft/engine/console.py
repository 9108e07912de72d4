# Copyright (c) mmfft authors. All rights reserved.
"""What a run says on the console: a screen at its start, a line at its end."""

import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from os import getpid, kill
from pathlib import Path
from typing import Any

from mmengine.device import get_device
from mmengine.dist import get_world_size, is_main_process, master_only
from mmengine.hooks import CheckpointHook
from mmengine.logging import MMLogger
from mmengine.runner import IterBasedTrainLoop
from torch import cuda

# Whose messages before the first iteration are only for the log file, in
# which there are hundreds of lines of them; except those that begin so.
_TOOLBOXES = ('mmengine', 'mmcv', 'mmdet', 'mmseg', 'mmpretrain')
_KEPT = ('load ', 'Load', 'resumed ', 'LR is set')
# A warning of mmengine for each parameter that was frozen on purpose.
_FROZEN = 'is skipped since its requires_grad=False'


class Terminated(KeyboardInterrupt):
    """The process was asked to end by SIGTERM, as schedulers do."""


class _ShortStart(logging.Filter):
    """Keep what a toolbox tells before the first iteration off the console."""

    started = False

    def filter(self, record: logging.LogRecord) -> bool:
        if self.started or record.levelno != logging.INFO:
            return not record.getMessage().endswith(_FROZEN)
        if _caller() not in _TOOLBOXES:
            return not getattr(record, 'only_in_file', False)
        return record.getMessage().startswith(_KEPT)


def _caller() -> str:
    """Package that logs a message, by way of mmengine's functions or not."""
    frame = sys._getframe(2)
    while frame is not None:
        name = frame.f_globals.get('__name__', '')
        if name != 'logging' and not name.startswith('mmengine.logging'):
            return name.partition('.')[0]
        frame = frame.f_back
    return ''


class BriefRun:
    """What is added to a class of Runner for command lines.

    - On the console, a start takes a screen: the config, where the log is,
      and what is trained on what and for how long. The log file has all
      messages, as ever, and the console every warning.
    - Training that is interrupted says how to continue.
    - The dumped config of a training is not replaced by that of a test, whose
      name has the ending ``dump_suffix``.
    """

    dump_suffix = ''
    _short_start: _ShortStart | None = None

    def build_logger(self, *args, **kwargs) -> MMLogger:
        """Build the logger, whose console begins with a few lines."""
        logger = super().build_logger(*args, **kwargs)
        self._shorten(logger)
        return logger

    def build_strategy(self, *args, **kwargs):
        """Build the strategy of a FlexibleRunner, which has the logger."""
        strategy = super().build_strategy(*args, **kwargs)
        self._shorten(strategy.logger)
        return strategy

    @master_only
    def dump_config(self) -> None:
        """Dump the config into the work directory."""
        path = Path(self.cfg.filename or f'{self.timestamp}.py')
        name = f'{path.stem}{self.dump_suffix}{path.suffix}'
        self.cfg.dump(Path(self.work_dir, name))

    def call_hook(self, fn_name: str, **kwargs) -> None:
        """Call the hooks, and say what starts once all is known."""
        super().call_hook(fn_name, **kwargs)
        if fn_name in ('before_train', 'before_val', 'before_test'):
            self._say_start()

    def train(self) -> Any:
        """Train; if interrupted, say how to continue."""
        try:
            with terminable(alone=get_world_size() == 1):
                return super().train()
        except BaseException as error:
            if stop := interrupt_behind(error):
                stop.args = (_how_to_continue(self),)
            raise

    def _shorten(self, logger: MMLogger) -> None:
        self._short_start = _ShortStart()
        for handler in logger.handlers:
            # A file's handler is a kind of it too.
            if type(handler) is logging.StreamHandler:
                handler.addFilter(self._short_start)
        logger.info(
            f'Config {self.cfg.filename}; the whole log, with environment, '
            f'config and hooks, is in {logger.log_file}'
        )

    def _say_start(self) -> None:
        if self._short_start and not self._short_start.started:
            self._short_start.started = True
            lines = [f'    {what}: {how}' for what, how in _describe(self)]
            self.logger.info('\n'.join(['This run:', *lines]))


def _describe(runner) -> Iterator[tuple[str, str]]:
    """Describe a run, whose loops are built, in lines of two parts."""
    count = get_world_size()
    yield 'work dir', runner.work_dir
    yield (
        'device',
        device_name() + (f', {count} processes' if count > 1 else ''),
    )
    sizes = [(p.numel(), p.requires_grad) for p in runner.model.parameters()]
    yield (
        'model',
        f'{type(getattr(runner.model, "module", runner.model)).__name__}, '
        f'{sum(n for n, _ in sizes) / 1e6:.2f} M parameters, '
        f'{sum(n for n, trained in sizes if trained) / 1e6:.2f} M trained',
    )
    if runner._load_from:
        how = 'resumed' if runner._resume else 'loaded'
        yield 'weights', f'{how} from {runner._load_from}'
    for split in ('train', 'val', 'test'):
        loop = getattr(runner, f'_{split}_loop')
        if hasattr(loop, 'dataloader'):
            yield f'{split} data', _describe_data(loop.dataloader)
    loop = runner._train_loop
    if hasattr(loop, 'dataloader'):
        yield 'schedule', _describe_schedule(loop)


def device_name() -> str:
    """The device on which mmengine's Runner computes, with the GPU's name."""
    device = get_device()
    if device == 'cuda':
        return f'{device} ({cuda.get_device_name()})'
    return device


def _describe_data(loader) -> str:
    dataset, batch_size = loader.dataset, loader.batch_size
    text = f'{type(dataset).__name__} of {len(dataset):,} samples'
    # A batch sampler has it otherwise.
    return text + (f' in batches of {batch_size}' if batch_size else '')


def _describe_schedule(loop) -> str:
    if isinstance(loop, IterBasedTrainLoop):
        return f'iterations {loop.iter + 1:,} to {loop.max_iters:,}'
    return (
        f'epochs {loop.epoch + 1:,} to {loop.max_epochs:,} of '
        f'{len(loop.dataloader):,} iterations'
    )


@contextmanager
def terminable(alone: bool = True) -> Iterator[None]:
    """Context in which SIGTERM is an exception, as Ctrl-C is.

    Args:
        alone (bool): False for one of several processes, for which nothing is
            changed: it may wait for the others in a collective operation, in
            which no exception can be raised. Defaults to True.
    """
    if not alone:
        yield
        return
    owner = getpid()

    def terminate(number, frame):
        if getpid() == owner:
            _let_workers_die()
            raise Terminated
        # A child that has inherited this.
        signal.signal(number, signal.SIG_DFL)
        kill(getpid(), number)

    try:
        before = signal.signal(signal.SIGTERM, terminate)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _let_workers_die() -> None:
    """Keep PyTorch from raising an error for each, wherever Python is."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def _how_to_continue(runner) -> str:
    # What is in the work dir may be of an earlier run.
    saved = [
        hook.last_ckpt
        for hook in runner.hooks
        if isinstance(hook, CheckpointHook)
    ]
    last = next(filter(None, saved), None)
    if last is None and runner._resume:
        last = runner._load_from
    where = f'in iteration {runner.iter + 1:,}'
    if last is None:
        return f'{where}, before a checkpoint was saved'
    return f'{where}. Last checkpoint: {Path(last)}\nContinue with --resume'


def interrupt_behind(error: BaseException | None) -> KeyboardInterrupt | None:
    """Find the Ctrl-C of which an error is the consequence.

    mmengine formats configs in a ``try`` whose bare ``except`` raises a
    ``SyntaxError``, whenever a checkpoint is saved. torchrun passes a Ctrl-C
    on to processes that have had it: the second comes without the text that
    the first has been given.

    Args:
        error (BaseException, optional): Error that was caught.

    Returns:
        KeyboardInterrupt | None: What has interrupted the process, or None if
        nothing did.
    """
    found = []
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            found.append(error)
        error = error.__cause__ or error.__context__
    return next((stop for stop in found if stop.args), next(iter(found), None))


def end_interrupted(program: str, stop: KeyboardInterrupt) -> None:
    """End the process after Ctrl-C or SIGTERM, with a line or two.

    Args:
        program (str): Name of the command line.
        stop (KeyboardInterrupt): What has interrupted it.

    Raises:
        SystemExit: With the status that shells have for the signal, 130 or
            143.
    """
    # A second Ctrl-C does not keep the lines from being said.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _let_workers_die()
    terminated = isinstance(stop, Terminated)
    if is_main_process():
        how = 'terminated' if terminated else 'interrupted'
        print(' '.join([f'{program}: {how}', *stop.args]), file=sys.stderr)
    # Workers are waited for; a second Ctrl-C does not.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(143 if terminated else 130)
