# Copyright (c) mmfft authors. All rights reserved.
"""Whether a run can continue from a checkpoint, before mmengine loads it."""

from collections.abc import Iterator

from mmengine.model import (
    MMSeparateDistributedDataParallel,
    is_model_wrapper,
)
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, Runner
from torch.nn.parallel import DistributedDataParallel

from ...errors import ConfigError
from ...openmmlab.weights import unwrapped
from .newest import why_not_resumable

# Settings that versions of PyTorch added, and that need no state.
_ADDED = {
    *('foreach', 'maximize', 'capturable', 'differentiable', 'fused'),
    *('decoupled_weight_decay', 'amsgrad'),
}


def comparable(runner) -> bool:
    """Whether a run trains with whole models and PyTorch's own optimizers."""
    return (
        isinstance(runner, Runner)
        and isinstance(runner._train_loop, BaseLoop)
        and isinstance(runner.optim_wrapper, OptimWrapper)
        and (
            not is_model_wrapper(runner.model)
            or isinstance(
                runner.model,
                (DistributedDataParallel, MMSeparateDistributedDataParallel),
            )
        )
    )


def frozen_names(runner) -> list[str]:
    """Names of the model's parameters that are not trained."""
    return [
        name
        for name, param in unwrapped(runner.model).named_parameters()
        if not param.requires_grad
    ]


def check_fit(runner, checkpoint: dict, recorded: dict) -> None:
    """Reject a checkpoint from which a run cannot continue.

    Args:
        runner (Runner): Runner that is about to resume.
        checkpoint (dict): Checkpoint as read from the file.
        recorded (dict): What :class:`.ExactResumeHook` recorded of the run
            that saved it; empty for checkpoints of others.

    Raises:
        ConfigError: If something is missing in the checkpoint, or the model,
            the optimizer or the way of counting is another. It says what.
    """
    file = runner._load_from
    way_out = (
        '\nTo start a new training with its weights: without --resume, in '
        f'another work directory, add --cfg-options load_from={file}'
    )
    if reason := why_not_resumable(checkpoint):
        raise ConfigError(f'--resume: {file!r} is {reason}{way_out}')
    wrong = [
        *_counting(runner, checkpoint, recorded),
        *_weights(runner, checkpoint),
        *_optimizers(runner, checkpoint, recorded),
    ]
    if not wrong:
        _say_what_is_frozen(runner, recorded)
        return
    raise ConfigError(
        f'--resume: {file!r} is of a run with other settings, so this one '
        'cannot continue from it:\n  ' + '\n  '.join(wrong) + way_out
    )


def _counting(runner, checkpoint: dict, recorded: dict) -> Iterator[str]:
    loop, meta = runner.train_loop, checkpoint['meta']
    by_epoch = isinstance(loop, EpochBasedTrainLoop)
    if 'by_epoch' in recorded:
        counted = recorded['by_epoch']
    else:
        # Training by iterations does not count epochs.
        hub = checkpoint['message_hub'].get('runtime_info', {})
        counted = (
            meta['epoch'] > 0
            or hub.get('max_epochs') != 1
            or meta['iter'] <= len(loop.dataloader)
        )
    if by_epoch and not counted:
        yield (
            f'it counts iterations ({meta["iter"]} are done), this run counts '
            'epochs (train_cfg.by_epoch)'
        )


def _weights(runner, checkpoint: dict) -> Iterator[str]:
    model = unwrapped(runner.model)
    own = model.state_dict()
    theirs = {
        name.removeprefix('module.'): value
        for name, value in checkpoint['state_dict'].items()
    }
    others = [
        f'{name}: {tuple(theirs[name].shape)} in the checkpoint, '
        f'{tuple(value.shape)} in the model'
        for name, value in own.items()
        if name in theirs
        and getattr(value, 'shape', 0) != getattr(theirs[name], 'shape', 0)
    ]
    yield from others[:5]
    if len(others) > 5:
        yield f'{len(others) - 5} more tensors of other shapes'
    missing = [n for n, _ in model.named_parameters() if n not in theirs]
    unknown = [name for name in theirs if name not in own]
    if missing:
        yield f'only in the model: {_some(missing)}'
    # Alone, these may be buffers that the model had for a while.
    if unknown and (others or missing):
        yield f'only in the checkpoint: {_some(unknown)}'


def _optimizers(runner, checkpoint: dict, recorded: dict) -> Iterator[str]:
    ours, theirs = runner.optim_wrapper, checkpoint['optimizer']
    if not isinstance(ours, OptimWrapperDict):
        ours = {'': ours}
    if 'param_groups' in theirs:
        theirs = {'': theirs}
    if ours.keys() != theirs.keys():
        yield (
            f'optimizers: {sorted(theirs)} in the checkpoint, {sorted(ours)} '
            'in the config'
        )
        return
    for name, wrapper in ours.items():
        yield from _optimizer(
            f'optim_wrapper.{name}' if name else 'optim_wrapper',
            wrapper.optimizer,
            theirs[name],
            recorded.get('settings', {}).get(name, {}).get('type'),
        )
    before, now = recorded.get('frozen'), frozen_names(runner)
    sizes = [
        [len(group['params']) for group in groups]
        for name in ours
        for groups in (
            ours[name].optimizer.param_groups,
            theirs[name]['param_groups'],
        )
    ]
    if before is not None and before != now and sizes[::2] != sizes[1::2]:
        yield from _freezing(before, now)


def _optimizer(of, optimizer, state: dict, kind: str | None) -> Iterator[str]:
    ours, theirs = optimizer.param_groups, state['param_groups']
    own = type(optimizer).__name__
    if kind is not None and kind != own:
        yield f'{of}.optimizer.type: {kind} in the checkpoint, {own} here'
    elif theirs and kind is None:
        missing = optimizer.defaults.keys() - theirs[0].keys() - _ADDED
        if missing:
            yield (
                f"{of}.optimizer.type: the checkpoint's has no "
                f'{", ".join(sorted(missing))}, so it is not {own}'
            )
    sizes = [len(group['params']) for group in ours]
    others = [len(group['params']) for group in theirs]
    if sizes != others:
        yield (
            f'{of}: {sum(others)} tensors in {len(others)} parameter groups '
            f'in the checkpoint, {sum(sizes)} in {len(sizes)} here (by what '
            'is frozen, paramwise_cfg and constructor)'
        )


def _freezing(before: list[str], now: list[str]) -> Iterator[str]:
    thawed = [name for name in before if name not in set(now)]
    frozen = [name for name in now if name not in set(before)]
    if thawed:
        yield f'frozen in the checkpoint, trained here: {_some(thawed)}'
    if frozen:
        yield f'trained in the checkpoint, frozen here: {_some(frozen)}'


def _say_what_is_frozen(runner, recorded: dict) -> None:
    before, now = recorded.get('frozen'), frozen_names(runner)
    if before is not None:
        for text in _freezing(before, now):
            runner.logger.warning(
                f'--resume: {text}. The optimizer starts anew for those of '
                'which it has no state'
            )


def _some(names: list[str]) -> str:
    text = ', '.join(names[:3])
    return text if len(names) <= 3 else f'{text}, ... ({len(names)} tensors)'
