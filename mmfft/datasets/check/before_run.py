# Copyright (c) mmfft authors. All rights reserved.
"""The part of the check that is cheap enough to come before every run."""

import contextlib
import random
from collections.abc import Iterator, Sequence
from logging import Logger

import numpy as np
from mmengine.config import Config
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.registry import DATASETS

from ...errors import ConfigError
from ...openmmlab.scopes import class_of, toolbox
from ..paths import downloads
from .parts import find_datasets, is_on_this_disk
from .problems import Problem
from .survey import TOOLBOXES, compare, missing_files, name_split, survey


def check_before_run(cfg: Config, logger: Logger, *loaders: str) -> None:
    """Check what needs no decoding of images before a run starts.

    These are annotation files, listings of folders and the classes of the
    splits. Only the main process reads. Data that are not on this disk, or
    that their class may download, are left out, and so is what the check
    itself cannot read. The random state is left as it is.

    Args:
        cfg (Config): Config of a toolbox, whose scope is the default one.
        logger (Logger): Logger that is told what may spoil a part of the run.
        *loaders (str): Any of ``'train'``, ``'val'`` and ``'test'``.

    Raises:
        ConfigError: If something surely spoils the run. Other processes than
            the main one end without a message, with status 2.
    """
    found: list = []
    if is_main_process() and toolbox(cfg) in (None, *TOOLBOXES):
        try:
            with _same_random_state():
                found = [*_look_before_run(cfg, loaders)]
        # Classes and files are of any kind, and the run may do well.
        except Exception as error:
            what = f'{type(error).__name__}: {error}'
            logger.warning(f'The check of the data ended early: {what}')
        _warn(found, logger, cfg.filename or 'CONFIG')
    fatal = [[problem for problem in found if problem.level == 'fatal']]
    broadcast_object_list(fatal)
    if not fatal[0]:
        return
    if not is_main_process():
        raise SystemExit(2)
    lines = ''.join(_summarize(fatal[0]))
    raise ConfigError(
        f'the data would spoil the run (--skip-data-check runs anyway):{lines}'
    )


@contextlib.contextmanager
def _same_random_state() -> Iterator[None]:
    """A data set class may draw a random split when it lists its images."""
    ours, theirs = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(ours)
        np.random.set_state(theirs)


def _look_before_run(cfg: Config, loaders: Sequence[str]) -> Iterator[Problem]:
    parts = []
    datasets = find_datasets(cfg, loaders)
    for split, dataset_cfg in datasets.items():
        if class_of(DATASETS, dataset_cfg, cfg) is None:
            continue  # as the run itself will say
        if downloads(cfg, dataset_cfg) or not is_on_this_disk(dataset_cfg):
            continue
        part, problems = survey(cfg, split, dataset_cfg)
        if part is not None:
            parts.append(part)
            problems += missing_files(part)
            part.items = []
        yield from name_split(problems, split, datasets)
    yield from compare(cfg, parts, [s for s in loaders if s != 'train'])


def _warn(found: list[Problem], logger: Logger, config: str) -> None:
    problems = [problem for problem in found if problem.level == 'problem']
    if problems:
        logger.warning(
            f'Problems of the data: {len(problems)}'
            + ''.join(_summarize(problems))
            + f'\nRun "python tools/misc/check_dataset.py {config}" for the '
            'rest, and for the images themselves.'
        )


def _summarize(problems: list[Problem]) -> Iterator[str]:
    """A line for each kind, with the first problem of it."""
    kinds: dict[tuple, list] = {}
    for problem in problems:
        key = problem.kind, problem.split, problem.fix
        kinds.setdefault(key, []).append(problem)
    for (kind, *_), these in list(kinds.items())[:8]:
        more = f' (and {len(these) - 1} more)' if len(these) > 1 else ''
        yield f'\n  {kind}: {these[0]}{more}'
