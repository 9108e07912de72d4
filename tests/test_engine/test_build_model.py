# Copyright (c) mmfft authors. All rights reserved.
import copy

import pytest
import torch
from config_files import load
from random_weights import save_random_weights
from torch import nn

from mmfft.engine import build_model, load_weights
from mmfft.errors import ConfigError

CLS = 'configs/demo/cdfformer-nano_1xb32-6e_digit-crops.py'
DET = 'configs/demo/mask-rcnn_cdfformer-nano_fpn_1xb4-3e_digit-scenes.py'
SEG = 'configs/demo/cdfformer-nano_fpn_1xb2-2k_digit-scenes-192x256.py'


def changed(checkpoint, change, path):
    """A copy of a checkpoint whose state dict went through a function."""
    torch.save(change(torch.load(checkpoint)['state_dict']), path)
    return str(path)


@pytest.mark.parametrize('config', [CLS, DET, SEG])
def test_whole_models_and_their_backbones(config, tmp_path):
    cfg = load(config)
    checkpoint = save_random_weights(cfg, tmp_path)
    before = copy.deepcopy(cfg.to_dict())
    model = build_model(cfg, checkpoint)
    weights = torch.load(checkpoint)['state_dict']
    assert not any(module.training for module in model.modules())
    assert set(model.state_dict()) == set(weights)
    for name, value in model.state_dict().items():
        assert torch.equal(value, weights[name])
    backbone = build_model(cfg, checkpoint, part='backbone')
    for name, value in backbone.state_dict().items():
        assert torch.equal(value, weights[f'backbone.{name}'])
    # What the config says of the model stays as it was.
    assert cfg.to_dict() == before


def test_a_classifier_gets_its_preprocessor():
    cfg = load(CLS)
    mean = build_model(cfg).data_preprocessor.mean.flatten().tolist()
    assert mean == pytest.approx(cfg.data_preprocessor.mean)


def test_synchronized_norms_run_on_one_cpu():
    cfg = load(SEG)
    cfg.model.decode_head.norm_cfg = dict(type='SyncBN', requires_grad=True)
    kinds = {type(module) for module in build_model(cfg).modules()}
    assert nn.SyncBatchNorm not in kinds
    assert any(kind.__name__.startswith('_BatchNorm') for kind in kinds)


def test_a_file_may_hold_more_and_be_of_a_wrapped_model(tmp_path):
    cfg = load(CLS)
    checkpoint = changed(
        save_random_weights(cfg, tmp_path),
        lambda weights: {
            'module.more': torch.ones(1),
            **{f'module.{name}': value for name, value in weights.items()},
        },
        tmp_path / 'wrapped.pth',
    )
    model = build_model(cfg, checkpoint)
    bias = torch.load(checkpoint)['module.head.fc2.bias']
    assert torch.equal(model.head.fc2.bias, bias)


@pytest.mark.parametrize('part', [None, 'backbone'])
def test_what_does_not_fit_is_refused(part, tmp_path):
    cfg = load(CLS)
    checkpoint = save_random_weights(cfg, tmp_path)
    name = 'backbone.stages.0.0.norm1.weight'

    def refused(change, message):
        other = changed(checkpoint, change, tmp_path / 'other.pth')
        with pytest.raises(ConfigError, match=message):
            build_model(cfg, other, part)

    refused(
        lambda weights: {k: weights[k] for k in weights if k != name},
        "other.pth' lacks 1 tensors of the config's model, "
        rf"such as \['{name}'\]",
    )
    refused(
        lambda weights: {**weights, name: torch.ones(3)},
        'does not fit .*norm1.weight',
    )
    with pytest.raises(ConfigError, match="'none.pth' does not exist"):
        build_model(cfg, 'none.pth', part)
    with pytest.raises(ConfigError, match="folder: give .* as 'other.pth'"):
        build_model(cfg, str(tmp_path), part)


def test_weights_of_another_model_are_refused(tmp_path):
    torch.save(dict(conv=torch.ones(1)), tmp_path / 'a.pth')
    model = nn.Linear(1, 1)
    with pytest.raises(
        ConfigError,
        match=r"nothing in .*a.pth' fits the model: it has \['conv'\], the "
        r"model has \['weight', 'bias'\]",
    ):
        load_weights(model, str(tmp_path / 'a.pth'))
