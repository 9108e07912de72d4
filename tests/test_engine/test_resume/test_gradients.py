# Copyright (c) mmfft authors. All rights reserved.
"""A run resumed between two steps of the optimizer equals the unbroken one."""

import os
import socket

import pytest
import torch
from forked_ranks import FORKS
from mmengine.optim import OptimWrapper, OptimWrapperDict
from tiny_runs import (
    EPOCHS,
    ITERATIONS,
    Model,
    loader,
    runner_of,
    same,
    state,
    warnings_of,
)

pytestmark = pytest.mark.usefixtures('quick_runs')


def accumulating(counts=4):
    return dict(
        type='OptimWrapper',
        optimizer=dict(type='AdamW', lr=0.01),
        accumulative_counts=counts,
        clip_grad=dict(max_norm=0.1),
    )


def run(folder, train_cfg=EPOCHS, resume=None, counts=4, **more):
    if resume:
        more |= dict(resume=True, load_from=str(resume))
    wrapper = accumulating(counts)
    more = dict(optim_wrapper=wrapper) | more
    runner = runner_of(folder, train_cfg, loader(), str(folder), **more)
    return warnings_of(runner)


# Checkpoints in each place of an accumulation, and of the shorter last one.
@pytest.mark.parametrize(
    'train_cfg, stops',
    [(EPOCHS, (3, 6, 17)), (ITERATIONS, (15,))],
    ids=['epochs', 'iterations'],
)
def test_resumed_is_unbroken(train_cfg, stops, tmp_path):
    straight = tmp_path / 'straight'
    run(straight, train_cfg)
    end = 18 if train_cfg is EPOCHS else 16
    for stop in stops:
        folder = tmp_path / str(stop)
        warned = run(folder, train_cfg, straight / f'iter_{stop}.pth')
        for step in {stop + 1, end}:
            same(state(folder, step), state(straight, step))
        # mmengine's own would be untrue.
        assert 'divisible' not in warned and 'optimizer' not in warned


def test_at_the_end_of_an_epoch(tmp_path):
    checkpoint = dict(type='mmfft.AtomicCheckpointHook', interval=1)
    more = dict(default_hooks=dict(checkpoint=checkpoint))
    run(tmp_path / 'straight', **more)
    run(
        tmp_path / 'new', EPOCHS, tmp_path / 'straight' / 'epoch_1.pth', **more
    )
    ours, expected = (
        torch.load(tmp_path / name / 'epoch_3.pth', weights_only=False)
        for name in ('new', 'straight')
    )
    same(ours, expected)


def test_what_is_lost_is_said_once(tmp_path):
    run(tmp_path)
    # As checkpoints were before.
    old = torch.load(tmp_path / 'iter_6.pth', weights_only=False)
    saved = old.pop('accumulated_gradients')
    assert saved['inner_count'] == 6 and len(saved['gradients']) == 6
    torch.save(old, file := tmp_path / 'old.pth')
    warned = run(tmp_path / 'a', resume=file)
    assert 'without the gradients of the last 2 iterations' in warned
    assert 'divisible' not in warned
    # Another number: they are not those of a step.
    warned = run(tmp_path / 'b', resume=tmp_path / 'iter_6.pth', counts=5)
    assert 'was 4 when' in warned and 'is 5 now; the gradients' in warned
    warned = run(tmp_path / 'c', resume=tmp_path / 'iter_8.pth', counts=1)
    assert 'is 1 now' in warned and 'gradients' not in warned
    # Without the optimizer, they are of no use.
    checkpoint = dict(
        type='mmfft.AtomicCheckpointHook', interval=1, save_optimizer=False
    )
    run(tmp_path / 'd', default_hooks=dict(checkpoint=checkpoint))
    saved = torch.load(tmp_path / 'd' / 'epoch_1.pth', weights_only=False)
    assert 'accumulated_gradients' not in saved


def test_several_optimizers_are_said_not_to_be_covered(tmp_path):
    model = Model()
    model.train_step = lambda data, optim_wrapper: {}
    wrappers = OptimWrapperDict(
        a=OptimWrapper(
            torch.optim.SGD(model.parameters(), lr=0.1), accumulative_counts=2
        )
    )
    warned = run(
        tmp_path, model=model, optim_wrapper=wrappers, param_scheduler=None
    )
    assert 'not kept in the checkpoints' in warned


def _two_runs(rank, port, folder):
    os.environ['LOCAL_RANK'] = str(rank)
    torch.distributed.init_process_group(
        'gloo', f'tcp://127.0.0.1:{port}', rank=rank, world_size=2
    )
    more = dict(
        launcher='pytorch',
        cfg=dict(
            model_wrapper_cfg=dict(
                type='MMDistributedDataParallel', device_ids=None
            )
        ),
    )
    run(folder / 'straight', **more)
    run(folder / 'new', EPOCHS, folder / 'straight' / 'iter_6.pth', **more)


def test_two_processes(tmp_path):
    """Each has gradients of its own until the step."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    ranks = [
        FORKS.Process(target=_two_runs, args=(rank, port, tmp_path))
        for rank in range(2)
    ]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join()
        assert rank.exitcode == 0
    ours, expected = (state(tmp_path / n, 9) for n in ('new', 'straight'))
    # Each has statistics of its own, too, by which it validates.
    for key in ('state_dict', 'optimizer', 'accumulated_gradients'):
        same(ours[key], expected[key])
