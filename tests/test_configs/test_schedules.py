# Copyright (c) mmfft authors. All rights reserved.
"""Learning rates over whole trainings, against the published formulas."""

import math

import pytest
import torch
from config_files import load, quiet
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS, init_default_scope


def rates(config, steps, by_epoch):
    """The learning rate at each epoch or iteration."""
    cfg = load(config)
    init_default_scope(cfg.default_scope)
    parameter = torch.nn.Parameter(torch.zeros(1))
    model = torch.nn.ParameterList([parameter])
    with quiet():
        optimizer = build_optim_wrapper(
            model,
            dict(type='OptimWrapper', optimizer=cfg.optim_wrapper.optimizer),
        )
    schedulers = [
        PARAM_SCHEDULERS.build(
            scheduler, default_args=dict(optimizer=optimizer)
        )
        for scheduler in cfg.param_scheduler
    ]
    optimizer.step()  # the schedulers warn otherwise
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]['lr'])
        for scheduler in schedulers:
            if scheduler.by_epoch == by_epoch:
                scheduler.step()
    return found


def timm_cosine(epoch, peak, warmup, epochs, start=1e-6, lowest=1e-5):
    """timm's CosineLRScheduler, stepped by the epoch, without a prefix."""
    if epoch < warmup:
        return start + (peak - start) * epoch / warmup
    if epoch >= epochs:
        return lowest
    angle = math.pi * epoch / epochs
    return lowest + (peak - lowest) * (1 + math.cos(angle)) / 2


@pytest.mark.parametrize(
    'config, peak, warmup, epochs, total',
    [
        ('dfformer/dfformer-s18_8xb128_in1k', 1e-3, 20, 300, 310),
        ('cdfformer/cdfformer-b36_8xb128_in1k', 1e-3, 20, 300, 310),
        ('gfnet/gfnet-ti_8xb128_in1k', 1e-3, 5, 300, 300),
        ('gfnet/gfnet-xs_8xb64_cars', 1e-4, 5, 1000, 1000),
        ('dfformer/dfformer-s18_8xb64_cifar10', 1e-4, 5, 1000, 1000),
    ],
)
def test_cosine_is_that_of_timm(config, peak, warmup, epochs, total):
    found = rates(f'configs/{config}.py', total, by_epoch=True)
    expected = [timm_cosine(e, peak, warmup, epochs) for e in range(total)]
    assert found[0] == pytest.approx(1e-6)
    # The comment in the schedule says this much.
    assert found[:warmup] == pytest.approx(
        expected[:warmup], abs=0.01 * peak, rel=0
    )
    assert found[warmup:] == pytest.approx(expected[warmup:], abs=1e-6, rel=0)


def test_flat_fine_tuning():
    found = rates(
        'configs/dfformer/dfformer-s18_8xb128_in1k-384px.py', 30, by_epoch=True
    )
    assert set(found) == {5e-5}
    found = rates(
        'configs/gfnet/gfnet-xs_8xb64_in1k-384px.py', 30, by_epoch=True
    )
    assert found[0] == pytest.approx(1e-6)
    assert found[5:] == pytest.approx([5e-6] * 25)


@pytest.mark.parametrize(
    'config, peak, warmup, steps',
    [
        ('retinanet_dfformer-s18_fpn_1x', 1e-4, 500, (8, 11, 12)),
        ('mask-rcnn_dfformer-s18_fpn_1x', 2e-4, 500, (8, 11, 12)),
        (
            'mask-rcnn_dfformer-s18_fpn_amp-ms-crop-3x',
            1e-4,
            1000,
            (27, 33, 36),
        ),
    ],
)
def test_steps_on_coco(config, peak, warmup, steps):
    path = f'configs/dfformer/{config}_coco.py'
    found = rates(path, warmup + 1, by_epoch=False)
    assert found[0] == pytest.approx(0.001 * peak)
    assert found[warmup // 2] == pytest.approx(peak / 2, rel=0.01)
    assert found[-1] == pytest.approx(peak)
    # Only the epochs, on top of the first iteration's factor.
    found = rates(path, steps[-1], by_epoch=True)
    first, second, last = steps
    assert [rate / found[0] for rate in found] == pytest.approx(
        [1] * first + [0.1] * (second - first) + [0.01] * (last - second)
    )


def test_poly_on_ade20k():
    path = 'configs/{0}/{0}-{1}_{2}_ade20k-512x512.py'
    found = rates(path.format('gfnet', 'h-ti', 'fpn_8xb4-40k'), 40000, False)
    # mmengine's decay ends an iteration earlier.
    for i in (0, 1, 20000, 39999):
        assert found[i] == pytest.approx(2e-4 * (1 - i / 39999) ** 0.9)

    found = rates(
        path.format('dfformer', 's18', 'upernet_8xb2-160k'), 160000, False
    )
    assert found[0] == pytest.approx(6e-11)
    assert found[1500] == pytest.approx(6e-5, rel=0.001)
    middle = (1500 + 160000) // 2
    assert found[middle] == pytest.approx(3e-5, rel=0.001)
    assert found[-1] < 1e-9
