# Copyright (c) mmfft authors. All rights reserved.
"""Settings of optimizers and schedules: the config's hold, not old ones."""

from collections.abc import Iterator
from types import SimpleNamespace

import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import EpochBasedTrainLoop

# What changes while a schedule runs, or follows from other settings.
_PROGRESS = {
    *('optimizer', 'last_step', '_global_step', '_last_value', 'base_values'),
    *('best', 'num_bad_epochs', 'cooldown_counter', 'verbose'),
}
_INITIAL = 'initial_'
# mmengine's number for a schedule without an end.
_ENDLESS = 10**9


class Settings:
    """Settings that a config gives to optimizers and schedules.

    When mmengine resumes, it overwrites them with those in the checkpoint.

    Args:
        runner (Runner): Runner that has built its optimizers and schedules,
            and has neither resumed nor trained.
    """

    def __init__(self, runner) -> None:
        self.groups, self.states, self.plain = {}, {}, {}
        for name, wrapper, schedules in _parts(runner):
            self.groups[name] = [
                {key: value for key, value in group.items() if key != 'params'}
                for group in wrapper.param_groups
            ]
            self.states[name] = [{**vars(schedule)} for schedule in schedules]
            self.plain[name] = dict(
                type=type(wrapper.optimizer).__name__,
                groups=[_plain_group(group) for group in self.groups[name]],
                schedules=[
                    _plain_schedule(vars(schedule), type(schedule).__name__)
                    for schedule in schedules
                ],
            )

    def apply(self, runner, before: dict, done: tuple[int, int, int]) -> None:
        """Make a resumed run follow its config where that has changed.

        If nothing has, nothing is done. If the schedules or the values that
        they start from have changed, the schedules of the config are put
        where they would be had they been followed from the beginning.

        Args:
            runner (Runner): Runner that has resumed.
            before (dict): Settings of the run that saved the checkpoint, as
                :func:`saved_settings` returns them.
            done (tuple[int, int, int]): Number of iterations and of epochs
                that are done, and of iterations in an epoch, from
                :func:`place_in_training`.
        """
        iterations, epochs, _ = done
        reached = f'iteration {iterations}'
        if epochs:
            reached = f'epoch {epochs}, {reached}'
        for name, wrapper, schedules in _parts(runner):
            old, new = before[name], self.plain[name]
            of = f'--resume: {name and f"optim_wrapper.{name}: "}'
            changed = _changes(old['groups'], new['groups'])
            scheduled = _scheduled(self.groups[name])
            for index, key, *_ in changed:
                if key not in scheduled:
                    group = wrapper.param_groups[index]
                    group[key] = self.groups[name][index][key]
            if changed:
                runner.logger.warning(
                    f'{of}the config changes settings of the optimizer that '
                    f'the checkpoint has, from {reached} on: '
                    f'{_in_words(changed)}'
                )
            if old['schedules'] is None:
                said = (
                    'the checkpoint has no schedules '
                    '(default_hooks.checkpoint.save_param_scheduler=False); '
                    'those of the config continue'
                )
            elif not _alike(old['schedules'], new['schedules']):
                said = (
                    'the schedule of the checkpoint was'
                    f'{_lines(old["schedules"])}\n  and that of the config is'
                    f'{_lines(new["schedules"])}\n  which is followed'
                )
            elif any(key in scheduled for _, key, *_ in changed):
                said = 'the schedule starts from these and is followed'
            else:
                continue
            scheduled |= _scheduled(wrapper.param_groups)
            last = _values(wrapper, scheduled)
            self._follow(name, wrapper, schedules, done)
            runner.logger.warning(
                f'{of}{said} from {reached} on, at '
                f'{_values(wrapper, scheduled)} (the checkpoint: {last})'
            )

    def _follow(self, name, wrapper, schedules, done) -> None:
        for group, fresh in zip(wrapper.param_groups, self.groups[name]):
            names = _scheduled([group, fresh])
            for key in [*names, *(_INITIAL + name for name in names)]:
                group.pop(key, None)
                if key in fresh:
                    group[key] = fresh[key]
        replayed = []
        for schedule, state in zip(schedules, self.states[name]):
            kept = dict(optimizer=schedule.optimizer)
            if getattr(schedule, 'need_val_args', False):
                # It depends on results, of which the checkpoint has the best.
                kept |= {
                    key: value
                    for key, value in vars(schedule).items()
                    if key in _PROGRESS & state.keys()
                }
            else:
                replayed.append(schedule)
            vars(schedule).clear()
            vars(schedule).update(state, **kept)
        _replay(wrapper, replayed, *done)


def saved_settings(checkpoint: dict, recorded: dict | None) -> dict:
    """Settings of the run that saved a checkpoint.

    Args:
        checkpoint (dict): Checkpoint that mmengine has not loaded yet.
        recorded (dict, optional): ``Settings.plain`` of that run. If it
            was not recorded, they are read from the states that mmengine
            saved, which do not tell the types.

    Returns:
        dict: The same, where ``schedules`` is None if there were any, and
        they were not saved.
    """
    states = checkpoint['optimizer']
    schedules = checkpoint.get('param_schedulers')
    if 'param_groups' in states:
        states, schedules = {'': states}, {'': schedules}
    found = {}
    for name, state in states.items():
        base = state.get('base_param_settings')
        groups = state['param_groups'] + ([base] if base else [])
        saved = (schedules or {}).get(name)
        part = dict((recorded or {}).get(name) or {})
        if not part:
            part = dict(
                type=None,
                groups=[_plain_group(group) for group in groups],
                schedules=[_plain_schedule(s, None) for s in saved or []],
            )
        if saved is None and any(_scheduled([group]) for group in groups):
            part['schedules'] = None
        found[name] = part
    return found


def place_in_training(loop, skip: int) -> tuple[int, int, int]:
    """Place at which schedules are that a run followed from its beginning.

    Args:
        loop (BaseLoop): Loop that is about to train.
        skip (int): Number of iterations of its present epoch that are done.

    Returns:
        tuple[int, int, int]: Number of iterations and of epochs that are
        done, and of iterations in an epoch. Epochs count as if they always
        had as many iterations as now.
    """
    if isinstance(loop, EpochBasedTrainLoop):
        length = len(loop.dataloader)
        return loop.epoch * length + skip, loop.epoch, length
    epoch = getattr(loop, 'epoch', 0)
    return loop.iter, epoch, loop.iter // max(1, epoch)


def end_of_schedules(runner, done: tuple[int, int, int]) -> str | None:
    """Values that stay to the end because all schedules have ended.

    Args:
        runner (Runner): Runner that is about to train.
        done (tuple[int, int, int]): As for :meth:`Settings.apply`.

    Returns:
        str | None: Values in words, or None if a schedule goes on.
    """
    iterations, epochs, _ = done
    values = []
    for _, wrapper, schedules in _parts(runner):
        if not schedules or any(
            schedule.end > (epochs if schedule.by_epoch else iterations)
            for schedule in schedules
        ):
            return None
        values.append(_values(wrapper, _scheduled(wrapper.param_groups)))
    return '; '.join(values)


def _parts(runner) -> Iterator[tuple[str, OptimWrapper, list]]:
    """Optimizers with their names, empty for only one, and schedules."""
    wrapper, schedules = runner.optim_wrapper, runner.param_schedulers
    if isinstance(wrapper, OptimWrapperDict):
        for name, one in wrapper.items():
            yield name, one, (schedules or {}).get(name, [])
    else:
        yield '', wrapper, schedules or []


def _scheduled(groups: list[dict]) -> set[str]:
    names = {
        key.removeprefix(_INITIAL)
        for group in groups
        for key in group
        if key.startswith(_INITIAL)
    }
    # For optimizers like Adam, the momentum is the first of the betas.
    return names | ({'betas'} if 'momentum' in names else set())


def _plain_group(group: dict) -> dict:
    """Settings of a group as they were before any schedule."""
    plain = {
        key: _plain(group.get(_INITIAL + key, value))
        for key, value in group.items()
        if key != 'params' and not key.startswith(_INITIAL)
    }
    if 'betas' in plain and 'momentum' in plain:
        plain['betas'][0] = plain['momentum']
    return plain


def _plain_schedule(state: dict, kind: str | None) -> dict:
    settings = {
        key: _plain(value)
        for key, value in state.items()
        if key not in _PROGRESS
    }
    return dict(type=kind, **settings)


def _plain(value):
    """The same as numbers and texts, which compare and can be saved."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return getattr(value, '__qualname__', type(value).__qualname__)


def _changes(old: list[dict], new: list[dict]) -> list[tuple]:
    """Index of the group, key, old and new value, the base group first."""
    return [
        (index, key, old[index][key], new[index][key])
        for index in reversed(range(min(len(old), len(new))))
        # Other keys are those of another version of PyTorch.
        for key in new[index]
        if key in old[index] and old[index][key] != new[index][key]
    ]


def _alike(old: list[dict], new: list[dict]) -> bool:
    if len(old) != len(new):
        return False
    for one, other in zip(old, new):
        if one['type'] is None:
            if one.keys() != other.keys():
                return False
        elif one['type'] != other['type']:
            return False
        both = one.keys() & other.keys() - {'type'}
        if any(one[key] != other[key] for key in both):
            return False
    return True


def _in_words(changed: list[tuple]) -> str:
    # Groups often have the same settings.
    texts = dict.fromkeys(
        f'{key} {old} -> {new}' for _, key, old, new in changed
    )
    shown = list(texts)[:4]
    if len(texts) > len(shown):
        shown.append(f'and {len(texts) - len(shown)} more, by group')
    return ', '.join(shown)


def _lines(schedules: list[dict]) -> str:
    if not schedules:
        return '\n    none'
    lines = ''
    for schedule in schedules:
        settings = ', '.join(
            f'{key}={value}'
            for key, value in schedule.items()
            if key != 'type' and (key, value) != ('end', _ENDLESS)
        )
        lines += f'\n    {schedule["type"] or "schedule"}({settings})'
    return lines


def _values(wrapper: OptimWrapper, names: set[str]) -> str:
    base = wrapper.param_groups[-1]
    return ', '.join(
        f'{name} {base[name]:.6g}'
        for name in sorted(names - {'betas'})
        if name in base
    )


def _replay(
    wrapper: OptimWrapper,
    schedules: list,
    iterations: int,
    epochs: int,
    length: int,
) -> None:
    """Take the steps of new schedules up to a place in the training."""
    groups = wrapper.param_groups
    names = _scheduled(groups)
    # There may be a group for each parameter, but few different values.
    alike = {}
    place = [
        alike.setdefault(
            str([group.get(k) for n in names for k in (n, _INITIAL + n)]),
            (len(alike), index),
        )[0]
        for index, group in enumerate(groups)
    ]
    firsts = [index for _, index in alike.values()]
    few = SimpleNamespace(
        param_groups=[dict(groups[index]) for index in firsts],
        # mmengine asks whether its optimizer has taken a step.
        step=SimpleNamespace(_with_counter=True),
        _global_step=0,
    )
    held = [(schedule, {**vars(schedule)}) for schedule in schedules]
    for schedule in schedules:
        schedule.optimizer, schedule.verbose = few, False
        schedule.base_values = [schedule.base_values[i] for i in firsts]
    by_iteration = [s for s in schedules if not s.by_epoch]
    by_epoch = [s for s in schedules if s.by_epoch]
    for epoch in range(epochs + 1):
        left = length if epoch < epochs else iterations - epochs * length
        for _ in range(left if by_iteration else 0):
            for schedule in by_iteration:
                schedule.step()
        if epoch < epochs:
            for schedule in by_epoch:
                schedule.step()
    for schedule, state in held:
        for key in ('optimizer', 'verbose', 'base_values'):
            setattr(schedule, key, state[key])
        schedule._last_value = [schedule._last_value[i] for i in place]
    for group, index in zip(groups, place):
        group.update(
            (name, few.param_groups[index][name])
            for name in names
            if name in group
        )
