# Copyright (c) mmfft authors. All rights reserved.
"""What cannot be resumed from is rejected, with what differs."""

import pytest
import torch
from mmengine.hooks import Hook
from tiny_runs import EPOCHS, ITERATIONS, Model, loader, runner_of, warnings_of
from torch import nn

from mmfft.errors import ConfigError

pytestmark = pytest.mark.usefixtures('quick_runs')

HOOKS = [dict(type='mmfft.ExactResumeHook')]


def run(folder, resume=None, train_cfg=EPOCHS, kind='AdamW', **more):
    if resume:
        more |= dict(resume=True, load_from=str(resume))
    optimizer = dict(type=kind, lr=0.01, weight_decay=0.1)
    more = (
        dict(
            optim_wrapper=dict(
                type='OptimWrapper',
                optimizer=optimizer,
                # One group for each parameter that is not frozen.
                paramwise_cfg=dict(norm_decay_mult=0.0),
            )
        )
        | more
    )
    return warnings_of(
        runner_of(folder, train_cfg, loader(), str(folder), **more)
    )


class Wider(Model):
    def __init__(self):
        super().__init__()
        self.layers[-1] = nn.Linear(8, 2)


class Deeper(Model):
    def __init__(self):
        super().__init__()
        self.layers.append(nn.Linear(1, 1))


class Frozen(Model):
    def __init__(self):
        super().__init__()
        self.layers[0].requires_grad_(False)


def refused(folder, file, *args, **more):
    with pytest.raises(ConfigError) as raised:
        run(folder, file, *args, **more)
    text = str(raised.value)
    assert str(file) in text and '--resume: ' in text
    assert 'without --resume' in text and f'load_from={file}' in text
    return text


@pytest.fixture
def saved(tmp_path):
    run(tmp_path / 'old')
    return tmp_path / 'old' / 'iter_7.pth'


@pytest.mark.parametrize('recorded', [True, False])
def test_what_is_refused(recorded, saved, tmp_path):
    if not recorded:
        checkpoint = torch.load(saved, weights_only=False)
        del checkpoint['meta']['place_in_the_data']
        torch.save(checkpoint, saved)
    text = refused(tmp_path / 'a', saved, model=Wider())
    assert 'layers.3.weight: (1, 8) in the checkpoint, (2, 8) in' in text
    text = refused(tmp_path / 'b', saved, model=Deeper())
    assert 'only in the model: layers.4.weight, layers.4.bias' in text
    assert '6 tensors in 6 parameter groups in the checkpoint, 8 in 8' in text
    text = refused(tmp_path / 'c', saved, model=Frozen())
    assert '6 tensors in 6 parameter groups in the checkpoint, 4 in 4' in text
    if recorded:
        assert (
            'trained in the checkpoint, frozen here: layers.0.weight, layers'
        ) in text
    text = refused(tmp_path / 'd', saved, kind='SGD')
    assert 'optim_wrapper.optimizer.type' in text and 'SGD' in text
    if recorded:
        assert 'AdamW in the checkpoint, SGD here' in text


def test_unfrozen(tmp_path):
    run(tmp_path / 'old', model=Frozen())
    text = refused(tmp_path / 'new', tmp_path / 'old' / 'iter_7.pth')
    assert (
        'frozen in the checkpoint, trained here: layers.0.weight, layers.0.b'
    ) in text
    # With one group for all, frozen or not, PyTorch goes on: so does this.
    plain = dict(
        optim_wrapper=dict(
            type='OptimWrapper', optimizer=dict(type='AdamW', lr=0.01)
        )
    )
    run(tmp_path / 'a', model=Frozen(), **plain)
    warned = run(tmp_path / 'b', tmp_path / 'a' / 'iter_7.pth', **plain)
    assert 'frozen in the checkpoint, trained here' in warned


def test_what_counts_otherwise(saved, tmp_path):
    # It is known how many iterations an epoch had, not the reverse.
    run(tmp_path / 'a', saved, ITERATIONS, param_scheduler=None)
    run(tmp_path / 'b', train_cfg=ITERATIONS)
    file = tmp_path / 'b' / 'iter_9.pth'
    text = refused(tmp_path / 'c', file)
    assert 'counts iterations (9 are done), this run counts epochs' in text
    # As checkpoints were before.
    checkpoint = torch.load(file, weights_only=False)
    del checkpoint['meta']['place_in_the_data']
    torch.save(checkpoint, file)
    text = refused(tmp_path / 'd', file)
    assert 'counts iterations' in text


def test_what_lacks_its_state(saved, tmp_path):
    (best,) = (tmp_path / 'old').glob('best_*')
    best = best.rename(tmp_path / 'best.pth')
    text = refused(tmp_path / 'a', best)
    assert 'without optimizer, as best checkpoints are' in text
    assert 'save_optimizer=False' in text
    torch.save(dict(state_dict={}), weights := tmp_path / 'weights.pth')
    text = refused(tmp_path / 'b', weights)
    assert 'only weights, without meta' in text
    # They start a training, and hooks may load them while one goes on.
    run(tmp_path / 'c', load_from=str(best))

    class LoadBest(Hook):
        def after_train(self, runner):
            runner.load_checkpoint(str(best))

    run(tmp_path / 'd', saved, custom_hooks=[*HOOKS, LoadBest()])
