# Copyright (c) mmfft authors. All rights reserved.
import logging
import math
import os
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from conftest import ROOT, small_data
from mmengine.optim import AmpOptimWrapper
from mmengine.optim.optimizer import amp_optimizer_wrapper
from torch.utils._python_dispatch import TorchDispatchMode

from mmfft.backbones import CDFFormer
from mmfft.engine.hooks.check_loss_hook import (
    CheckLossHook,
    InvalidLossError,
    last_finite_checkpoint,
)

TINY = dict(embed_dims=[8, 8, 8, 8], depths=[1, 1, 1, 1])
CLS = ROOT / 'configs' / 'demo' / 'cdfformer-nano_1xb32-6e_digit-crops.py'


def save(path, value, age):
    torch.save(dict(state_dict={'w': torch.tensor([1.0, value])}), path)
    os.utime(path, (1e9 - age, 1e9 - age))


@pytest.mark.parametrize('value', [math.nan, math.inf, -math.inf])
def test_it_says_step_images_and_checkpoint(value, tmp_path):
    save(tmp_path / 'epoch_1.pth', 1.0, age=30)
    save(tmp_path / 'epoch_2.pth', 2.0, age=20)
    save(tmp_path / 'epoch_3.pth', value, age=10)
    (tmp_path / 'epoch_4.pth').write_bytes(b'torn')
    samples = [SimpleNamespace(img_path=f'{name}.png') for name in 'ab']
    outputs = dict(
        loss=torch.tensor(value), loss_bbox=0.5, acc=torch.tensor(math.nan)
    )
    with pytest.raises(ValueError) as error:
        CheckLossHook().after_train_iter(
            SimpleNamespace(iter=41, work_dir=str(tmp_path)),
            3,
            dict(data_samples=samples),
            outputs,
        )
    said = str(error.value)
    assert f'the loss of step 42 is not finite (loss={value}, ' in said
    assert 'loss_bbox=0.5' in said
    assert 'Images of the batch: a.png, b.png\n' in said
    assert said.endswith(f'finite weights: {tmp_path}/epoch_2.pth')


def test_finite_losses_pass():
    outputs = dict(loss=torch.tensor(1e30), acc=torch.tensor(math.nan))
    CheckLossHook().after_train_iter(None, 0, {}, outputs)


class Reads(TorchDispatchMode):
    """Counts how often values are read, which waits for a GPU."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name
        self.count += name in ('aten::_local_scalar_dense', 'aten::_to_copy')
        return func(*args, **(kwargs or {}))


def test_a_step_waits_once():
    losses = {f'loss_{i}': torch.tensor(float(i)) for i in range(5)}
    losses['loss_half'] = torch.tensor(1.0, dtype=torch.float16)
    with Reads() as reads:
        CheckLossHook().after_train_iter(None, 0, {}, losses)
    assert reads.count == 1


@pytest.fixture
def train(monkeypatch, tmp_path, caplog):
    """A function that trains one weight with AmpOptimWrapper on a CPU."""
    scaler = partial(torch.amp.GradScaler, device='cpu')
    monkeypatch.setattr(amp_optimizer_wrapper, 'GradScaler', scaler)
    monkeypatch.setattr(
        amp_optimizer_wrapper, 'is_cuda_available', lambda: True
    )

    def make(**kwargs):
        model = torch.nn.Linear(1, 1, bias=False)
        model.register_buffer('seen', torch.zeros(1))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        runner = SimpleNamespace(
            iter=0,
            work_dir=str(tmp_path),
            model=model,
            optim_wrapper=AmpOptimWrapper(optimizer=optimizer, **kwargs),
            logger=logging.getLogger('mmfft'),
        )
        runner.optim_wrapper.initialize_count_status(model, 0, 1000)
        hook = CheckLossHook()

        def step(loss_of, name='a.png'):
            before = model.weight.detach().clone()
            loss = loss_of(model.weight).sum()
            runner.optim_wrapper.update_params(loss)
            batch = dict(data_samples=[SimpleNamespace(img_path=name)])
            hook.after_train_iter(runner, 0, batch, dict(loss=loss.detach()))
            runner.iter += 1
            return not torch.equal(model.weight, before)

        return step, model

    return make


def fine(weight):
    return weight.square() + weight


def overflow(weight):
    return weight * math.inf


def test_a_step_left_out_by_the_scaler_is_survived(train, caplog):
    step, _ = train()
    assert step(fine)
    assert not step(overflow, 'b.png')
    assert step(fine)
    assert 'the loss of step 2 is not finite' in caplog.text
    assert 'Images of the batch: b.png' in caplog.text
    assert 'scaler left it out' in caplog.text


def test_it_stops_when_the_scale_is_not_what_is_wrong(train):
    step, _ = train()
    for _ in range(16):
        assert not step(overflow)
    with pytest.raises(InvalidLossError, match='the loss of step 17'):
        step(overflow)


def test_it_stops_when_the_step_was_taken(train):
    step, _ = train()
    step(fine)
    with pytest.raises(InvalidLossError, match='loss=inf'):
        step(lambda weight: (weight - math.inf).abs())


def test_it_stops_when_the_forward_pass_left_a_trace(train):
    step, model = train()
    step(fine)
    model.seen.fill_(math.nan)
    with pytest.raises(InvalidLossError):
        step(overflow)


def test_it_stops_under_a_scale_that_never_changes(train):
    step, _ = train(loss_scale=128.0)
    with pytest.raises(InvalidLossError):
        step(overflow)


def test_accumulated_gradients_are_judged_at_their_step(train, caplog):
    step, _ = train(accumulative_counts=2)
    assert not step(overflow, 'b.png')
    assert not step(fine)
    assert 'b.png' in caplog.text
    assert not step(fine) and step(fine)
    assert not step(lambda weight: (weight - math.inf).abs(), 'c.png')
    with pytest.raises(InvalidLossError, match=r'step 5 .*\n.*c\.png'):
        step(fine)


def test_no_checkpoint_is_good(tmp_path):
    assert last_finite_checkpoint(tmp_path) is None
    save(tmp_path / 'epoch_1.pth', math.inf, 0)
    assert last_finite_checkpoint(tmp_path) is None


def test_training_stops_with_one_message(
    tmp_path, digit_scenes, call_tool, capsys
):
    """And saves nothing of what it became."""
    with pytest.raises(SystemExit) as end:
        call_tool(
            'train.py',
            CLS,
            '--work-dir',
            tmp_path,
            '--cfg-options',
            'train_cfg.max_epochs=3',
            'default_hooks.checkpoint.by_epoch=False',
            'default_hooks.checkpoint.interval=1',
            # The first step is still finite, its weights are not.
            'optim_wrapper.optimizer.lr=1e30',
            'optim_wrapper.clip_grad=None',
            'param_scheduler=[]',
            *small_data('mmpretrain', digit_scenes),
            cwd=tmp_path,
        )
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert 'train.py: error: the loss of step ' in said
    assert said.count('.png') == 4
    last = (tmp_path / 'last_checkpoint').read_text()
    step = int(last.rpartition('_')[2].removesuffix('.pth'))
    assert f'the loss of step {step + 1} ' in said
    good = last_finite_checkpoint(tmp_path)
    assert ('No checkpoint' in said) if good is None else (str(good) in said)


def test_overflowing_gradients_are_survived():
    """Float16 on a CPU, where PyTorch has the loss scaler too."""
    torch.manual_seed(0)
    model = CDFFormer(TINY, img_size=32, out_indices=(3,))
    model.init_weights()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    scaler = torch.amp.GradScaler('cpu', init_scale=2.0**40)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    skipped = 0
    for _ in range(60):
        with torch.autocast('cpu', dtype=torch.float16):
            loss = model(torch.randn(2, 3, 32, 32))[0].square().mean()
        assert loss.isfinite()
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        overflow = not all(p.grad.isfinite().all() for p in model.parameters())
        scaler.step(optimizer)
        scale = scaler.get_scale()
        scaler.update()
        assert (scaler.get_scale() < scale) == overflow
        unchanged = all(
            torch.equal(before[k], v) for k, v in model.state_dict().items()
        )
        if not overflow:
            break
        skipped += 1
        assert unchanged
    assert skipped > 0 and not overflow and not unchanged
    assert all(v.isfinite().all() for v in model.state_dict().values())
