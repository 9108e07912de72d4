# Copyright (c) mmfft authors. All rights reserved.
from types import SimpleNamespace

import pytest
import torch
from conftest import ROOT, small_data
from mmengine.logging import MessageHub
from mmengine.runner import LogProcessor

from mmfft.engine import BoundHistoryHook

CLS = ROOT / 'configs' / 'demo' / 'cdfformer-nano_1xb32-6e_digit-crops.py'


def run_of(batches, name, custom=(), **loops):
    hub = MessageHub.get_instance(name)
    return SimpleNamespace(
        message_hub=hub,
        log_processor=LogProcessor(window_size=4, custom_cfg=list(custom)),
        train_loop=SimpleNamespace(dataloader=range(batches)),
        val_loop=None,
    )


def train(runner, hook, steps=50):
    hook.before_train(runner)
    for step in range(steps):
        runner.message_hub.update_scalar('train/loss', float(step))
        hook.after_train_iter(runner, 0)
    values, counts = runner.message_hub.get_scalar('train/loss').data
    assert len(values) == len(counts) and values[-1] == steps - 1
    return len(values)


@pytest.mark.parametrize(
    'batches, length, window, kept',
    [
        (5, 10, 3, 10),
        (20, 10, 3, 20),
        (20, 10, 'epoch', 20),
        (5, 10, 30, 30),
        # Nothing is dropped.
        (5, 10, 'global', 50),
    ],
)
def test_what_the_log_averages_is_kept(batches, length, window, kept, request):
    custom = dict(data_src='loss', method_name='mean', window_size=window)
    runner = run_of(batches, request.node.name, [custom])
    assert train(runner, BoundHistoryHook(length)) == kept


def test_all_of_it_may_be_averaged(request):
    custom = dict(data_src='loss', method_name='max')
    runner = run_of(5, request.node.name, [custom])
    assert train(runner, BoundHistoryHook(10)) == 50


@pytest.mark.parametrize('length', [5, None])
def test_a_run_has_it_and_may_set_its_length(
    length, tmp_path, digit_scenes, call_tool
):
    config = tmp_path / 'config.py'
    config.write_text(f"_base_ = '{CLS}'\n")
    if length:
        hook = dict(type='mmfft.BoundHistoryHook', length=length)
        config.write_text(config.read_text() + f'custom_hooks = [{hook}]\n')
    call_tool(
        'train.py',
        config,
        '--work-dir',
        tmp_path,
        '--no-validate',
        '--cfg-options',
        *small_data('mmpretrain', digit_scenes),
        'train_cfg.max_epochs=2',
        cwd=tmp_path,
    )
    saved = torch.load(tmp_path / 'epoch_2.pth', weights_only=False)
    histories = saved['message_hub']['log_scalars']
    # The log averages ten, of the sixteen that there were.
    for name in ('train/loss', 'train/lr', 'train/time'):
        assert len(histories[name].data[0]) == (10 if length else 16)
