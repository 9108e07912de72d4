# Copyright (c) mmfft authors. All rights reserved.
from types import SimpleNamespace

import pytest
import torch
from mmengine.model import BaseTTAModel
from mmengine.runner import IterBasedTrainLoop
from torch import nn

from mmfft.engine import CheckLoadHook
from mmfft.errors import ConfigError

WEIGHT, BIAS = torch.full((1, 1), 3.0), torch.full((1,), 4.0)


class Linear(nn.Linear):
    def __init__(self):
        super().__init__(1, 1)
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)

    def test_step(self):
        """What a model for augmented tests must have."""


@pytest.fixture
def said(monkeypatch):
    messages = []
    monkeypatch.setattr(
        'mmfft.engine.hooks.check_load_hook.print_log',
        lambda message, *args: messages.append(message),
    )
    return messages


def load(checkpoint, trains=False, resumes=False, model=None, **kwargs):
    runner = SimpleNamespace(
        model=model or Linear(),
        _load_from='a.pth',
        _resume=resumes,
        _train_loop=IterBasedTrainLoop.__new__(IterBasedTrainLoop)
        if trains
        else dict(max_iters=1),
    )
    CheckLoadHook(**kwargs).after_load_checkpoint(runner, checkpoint)
    return runner.model


@pytest.mark.parametrize('trains', [False, True])
@pytest.mark.parametrize(
    'checkpoint',
    [
        {'weight': WEIGHT, 'bias': BIAS},
        {'state_dict': {'module.weight': WEIGHT, 'bias': BIAS}, 'meta': {}},
        {'model': {'bias': BIAS, 'weight': WEIGHT, 'more': WEIGHT}},
    ],
)
def test_what_fits_is_loaded(checkpoint, trains, said):
    model = load(checkpoint, trains)
    assert (model.weight, model.bias) == (3, 4)
    assert len(said) == trains
    # So that mmengine, which loads next, has nothing to complain about.
    assert set(checkpoint['state_dict']) == {'weight', 'bias'}


@pytest.mark.parametrize('wrap', [nn.DataParallel, BaseTTAModel])
def test_wrapped_models(wrap, monkeypatch):
    monkeypatch.setattr(BaseTTAModel, '__abstractmethods__', frozenset())
    monkeypatch.setattr(
        'mmfft.openmmlab.weights.is_model_wrapper',
        lambda model: isinstance(model, nn.DataParallel),
    )
    model = load(dict(weight=WEIGHT, bias=BIAS), model=wrap(Linear()))
    assert model.module.weight == 3


@pytest.mark.parametrize('mode', [{}, dict(trains=True)])
def test_nothing_that_fits_is_an_error(mode):
    with pytest.raises(
        ConfigError, match=r"has \['conv'\], the model has \['w"
    ):
        load({'state_dict': {'conv': WEIGHT}}, **mode)


MISSING = "lacks 1 tensors of the config's model, such as \\['bias'\\]"
SHAPE = r'does not fit the config: bias has shape \(1, 1\), the model \(1,\)'


@pytest.mark.parametrize(
    ('weights', 'problem'),
    [
        (dict(weight=WEIGHT), MISSING),
        (dict(weight=WEIGHT, bias=WEIGHT), SHAPE),
    ],
)
def test_a_test_and_a_resume_need_all(weights, problem, said):
    start = "checkpoint 'a.pth' "
    with pytest.raises(ConfigError, match=f'^{start}{problem}.*--allow-miss'):
        load(dict(weights))
    with pytest.raises(ConfigError, match=f'^{start}{problem}.*as load_from'):
        load(dict(weights), trains=True, resumes=True, allow_missing=True)
    assert not said
    assert load(dict(weights), allow_missing=True).weight == 3
    assert '--allow-missing' in said[0]


def test_training_reports_in_a_few_lines(said):
    assert load(dict(weight=WEIGHT, more=BIAS), trains=True).weight == 3
    assert said == [
        "load_from 'a.pth': 1 of 2 tensors of the model loaded\n"
        '    not in the file: bias\n'
        '    not used: more'
    ]
