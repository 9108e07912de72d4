# Copyright (c) mmfft authors. All rights reserved.
"""Nothing in a training step makes the host wait for a GPU."""

import pytest
import torch
from device_only import DEVICES, HAS_FAKE_CUDA, device_only, without_values
from tiny_models import build, every_model, loss_of
from torch import nn


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize(
    'waits',
    [
        lambda x: x.new_tensor([1.0, -1.0]),
        lambda x: torch.tensor([1.0, 2.0], device=x.device),
        lambda x: x.sum().item(),
        lambda x: int(x.sum()),
        lambda x: bool((x > 0).all()),
        lambda x: x[x > 0],
        lambda x: x.cpu(),
        lambda x: x.tolist(),
        lambda x: torch.ones(3).to(x.device),
        lambda x: x.copy_(torch.ones(3)),
    ],
)
def test_waiting_is_noticed(waits, device):
    with without_values(device), device_only() as calls:
        x = torch.ones(3, device=device) * torch.full((), 2.0)
        assert calls['aten::mul'] == 1
        with pytest.raises((AssertionError, RuntimeError)):
            waits(x)


def check_operators(calls):
    assert not any('upsample' in name for name in calls)
    assert calls['aten::add'] > 0


@every_model
@pytest.mark.parametrize('size', [(64, 64), (72, 104)])
@pytest.mark.parametrize('with_cp', [False, True][: 1 + HAS_FAKE_CUDA])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float16])
def test_a_step_does_not_wait(name, size, with_cp, dtype):
    with torch.device('meta'):
        model = build(name, drop_path_rate=0.1, with_cp=with_cp).to(dtype)
    with device_only() as calls:
        x = torch.empty(2, 3, *size, device='meta', dtype=dtype)
        loss_of(model(x)).backward()
    check_operators(calls)
    assert all(p.grad.device.type == 'meta' for p in model.parameters())


@every_model
@pytest.mark.parametrize('size', [(64, 64), (72, 104)])
@pytest.mark.parametrize('device', DEVICES)
def test_a_forward_pass_does_not_wait(name, size, device):
    with without_values(device):
        with torch.device(device):
            model = build(name)
        with device_only() as calls:
            outs = model(torch.empty(2, 3, *size, device=device))
    check_operators(calls)
    assert all(out.device.type == device for out in outs)


@pytest.mark.parametrize('device', DEVICES)
def test_images_of_several_sizes_do_not_wait(device):
    sizes = [(64, 96), (96, 64), (64, 96), (90, 70)]
    with without_values(device):
        with torch.device(device):
            model = build('dfformer')
        with device_only() as calls:
            x = torch.empty(4, 3, 96, 96, device=device)
            model(x, valid_sizes=sizes)
    check_operators(calls)


@every_model
def test_inference_does_not_wait(name):
    with torch.device('meta'):
        model = build(name).eval()
    with device_only() as calls, torch.no_grad():
        model(torch.empty(2, 3, 72, 104, device='meta'))
    check_operators(calls)


@every_model
@pytest.mark.parametrize(
    'layout', [torch.contiguous_format, torch.channels_last]
)
@pytest.mark.parametrize('device', DEVICES[-1:])
def test_channels_last_images_give_channels_last_maps(name, layout, device):
    """Which every layer after the first convolution wants."""
    maps = []
    with without_values(device):
        with torch.device(device):
            model = build(name)
        stem = next(m for m in model.modules() if isinstance(m, nn.Conv2d))
        stem.register_forward_hook(lambda *args: maps.append(args[2]))
        x = torch.empty(2, 3, 64, 64, device=device)
        model(x.contiguous(memory_format=layout))
    assert maps[0].is_contiguous(memory_format=layout)
