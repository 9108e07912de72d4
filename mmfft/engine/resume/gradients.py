# Copyright (c) mmfft authors. All rights reserved.
"""Gradients between two steps of the optimizer, kept in checkpoints."""

from collections.abc import Iterator

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import Runner
from torch.nn.parallel import DistributedDataParallel

_KEY = 'accumulated_gradients'


def accumulates(runner) -> bool:
    """Whether a run adds up the gradients of several iterations."""
    wrapper = getattr(runner, 'optim_wrapper', None)
    if isinstance(wrapper, OptimWrapperDict):
        wrappers = wrapper.values()
    else:
        wrappers = [wrapper]
    return any(getattr(w, '_accumulative_counts', 1) > 1 for w in wrappers)


def can_keep(runner) -> bool:
    """Whether each process has all gradients, of one optimizer."""
    wrapper = runner.optim_wrapper
    return (
        isinstance(runner, Runner)
        and isinstance(wrapper, OptimWrapper)
        and not isinstance(wrapper, OptimWrapperDict)
        and (
            get_world_size() == 1
            or isinstance(runner.model, DistributedDataParallel)
        )
    )


def average_over_processes(runner) -> None:
    """Give all processes the same accumulated gradients: their mean.

    Each has those of its own data until the last backward pass before a step,
    which takes the mean; it makes no difference to it if that is done before.
    All processes must call this before the first one saves a checkpoint.

    Args:
        runner (Runner): Runner whose hooks are about to save.
    """
    if get_world_size() == 1 or not accumulates(runner):
        return
    wrapper = runner.optim_wrapper
    if not can_keep(runner) or wrapper.should_update():
        return
    params = list(_parameters(wrapper))
    present = torch.tensor([float(p.grad is not None) for p in params])
    all_reduce(present, 'sum')
    for param, number in zip(params, present.tolist()):
        if number:
            if param.grad is None:
                param.grad = torch.zeros_like(param)
            all_reduce(param.grad, 'mean')
    wrapper._averaged_at = wrapper._inner_count


def save_gradients(runner, checkpoint: dict) -> None:
    """Add the gradients since the optimizer's last step to a checkpoint.

    Args:
        runner (Runner): Runner that saves.
        checkpoint (dict): Checkpoint that is changed in place, if it has a
            state of the optimizer and the run accumulates.
    """
    if (
        'optimizer' not in checkpoint
        or not accumulates(runner)
        or not can_keep(runner)
    ):
        return
    wrapper = runner.optim_wrapper
    count = wrapper._inner_count
    gradients = []
    if not wrapper.should_update():
        if get_world_size() > 1 and count != getattr(
            wrapper, '_averaged_at', None
        ):
            # The checkpoint hook is not ours: these are of one process.
            return
        gradients = [
            None if p.grad is None else p.grad.detach().cpu()
            for p in _parameters(wrapper)
        ]
    checkpoint[_KEY] = dict(
        accumulative_counts=wrapper._accumulative_counts,
        inner_count=count,
        gradients=gradients,
    )


def prepare_gradients(runner, checkpoint: dict) -> dict:
    """Take the gradients from a checkpoint that is about to be resumed.

    Says so if they are missing, in place of mmengine's own warning, which
    comes for all checkpoints within an accumulation.

    Args:
        runner (Runner): Runner that resumes.
        checkpoint (dict): Checkpoint that is changed in place.

    Returns:
        dict: What :func:`restore_gradients` needs.
    """
    saved = checkpoint.pop(_KEY, {})
    if not can_keep(runner) or not (saved or accumulates(runner)):
        return {}
    wrapper = runner.optim_wrapper
    counts = wrapper._accumulative_counts
    done = checkpoint['meta']['iter']
    before = saved.get('accumulative_counts', counts)
    if not saved and done % counts:
        runner.logger.warning(
            f'The checkpoint of iteration {done} was saved between two steps '
            f'of the optimizer (accumulative_counts={counts}), without the '
            f'gradients of the last {done % counts} iterations: they are lost'
        )
    elif before != counts:
        lost = ''
        if saved['gradients']:
            lost = '; the gradients since the last step are dropped'
        runner.logger.warning(
            f'optim_wrapper.accumulative_counts was {before} when the '
            f'checkpoint was saved, and is {counts} now{lost}'
        )
        saved = {}
    initialize = wrapper.initialize_count_status

    def initialize_silently(model, init_counts, max_counts):
        # It warns if the counts are not divisible.
        initialize(model, init_counts - init_counts % counts, max_counts)
        wrapper._inner_count = saved.get('inner_count', init_counts)
        del wrapper.initialize_count_status

    wrapper.initialize_count_status = initialize_silently
    return saved


def restore_gradients(runner, saved: dict, iterations: int) -> None:
    """Put the gradients of a checkpoint into the parameters.

    Args:
        runner (Runner): Runner that has resumed, and is about to train.
        saved (dict): What :func:`prepare_gradients` returned.
        iterations (int): Number of iterations that are done, as epochs have
            them now.
    """
    wrapper = runner.optim_wrapper
    gradients = saved.get('gradients')
    if iterations != runner.iter and accumulates(runner):
        # Epochs have another length.
        wrapper._inner_count = iterations
        if gradients:
            runner.logger.warning(
                'Gradients since the last step of the optimizer are dropped: '
                'an epoch had another number of iterations'
            )
    elif gradients:
        for param, grad in zip(_parameters(wrapper), gradients):
            param.grad = None if grad is None else grad.to(param)


def _parameters(wrapper: OptimWrapper) -> Iterator[torch.nn.Parameter]:
    for group in wrapper.optimizer.param_groups:
        yield from group['params']
