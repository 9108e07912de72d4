# Copyright (c) mmfft authors. All rights reserved.
"""Whether the schedules of a config fit the length of its training."""

from collections.abc import Iterator

from mmengine.config import Config

from .settings import Disagreement, is_list


def schedules(cfg: Config) -> Iterator[Disagreement]:
    """Schedules that end before they begin, which mmengine refuses to build.

    The end of a schedule is that of the training if the config gives none,
    and a training may become shorter than its warm-up.
    """
    lengths = cfg.get('train_cfg') or {}
    for where, schedule in _named(
        'param_scheduler', cfg.get('param_scheduler')
    ):
        by_epoch = schedule.get('by_epoch', True)
        length = lengths.get('max_epochs' if by_epoch else 'max_iters')
        begin, end = schedule.get('begin', 0), schedule.get('end', length)
        if end is not None and end <= begin:
            whose = '' if 'end' in schedule else ' (of the training)'
            yield Disagreement(
                where,
                f'begin={begin}, end={end}{whose}: the end must come after '
                'the beginning; train longer, or begin earlier',
            )


def _named(where: str, value) -> Iterator[tuple[str, dict]]:
    if is_list(value):
        for i, one in enumerate(value):
            yield from _named(f'{where}[{i}]', one)
    elif isinstance(value, dict) and 'type' in value:
        yield where, value
    elif isinstance(value, dict):
        # Several optimizers, each with schedules of its own.
        for key, one in value.items():
            yield from _named(f'{where}.{key}', one)
