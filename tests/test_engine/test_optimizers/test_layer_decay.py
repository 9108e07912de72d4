# Copyright (c) mmfft authors. All rights reserved.
import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from torch import nn

from mmfft.backbones import CDFFormer, GFNet, GFNetPyramid
from mmfft.errors import ConfigError

TINY = dict(embed_dims=[8, 8, 8, 8], depths=[1, 2, 1, 1])


class Model(nn.Module):
    """What the constructor sees of a detector, segmentor or classifier."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(8, 2)


@pytest.fixture
def model():
    return Model(CDFFormer(TINY, img_size=32))


def cfg_of(rate=0.5, **paramwise):
    return dict(
        optimizer=dict(type='AdamW', lr=1.0, weight_decay=0.1),
        constructor='mmfft.LayerDecayOptimWrapperConstructor',
        paramwise_cfg=dict(layer_decay_rate=rate, **paramwise),
    )


def settings(model, cfg):
    """`(lr, weight_decay)` of each parameter by its name."""
    wrapper = build_optim_wrapper(model, cfg)
    groups = {
        id(p): group
        for group in wrapper.optimizer.param_groups
        for p in group['params']
    }
    return {
        name: (groups[id(p)]['lr'], groups[id(p)]['weight_decay'])
        for name, p in model.named_parameters()
        if id(p) in groups
    }


EXPECTED = {
    'backbone.downsample_layers.0.conv.weight': 6,
    'backbone.downsample_layers.0.post_norm.weight': 6,
    'backbone.stages.0.0.mlp.fc1.weight': 5,
    'backbone.downsample_layers.1.conv.weight': 4,
    'backbone.stages.1.0.norm1.weight': 4,
    'backbone.stages.1.1.norm1.weight': 3,
    'backbone.stages.2.0.token_mixer.basis.weight': 2,
    'backbone.stages.3.0.mlp.act.scale': 1,
    'backbone.norm0.weight': 0,
    'backbone.norm3.bias': 0,
    'head.weight': 0,
}


@pytest.mark.parametrize('scope', ['mmdet', 'mmseg', 'mmpretrain'])
def test_rates_fall_towards_the_image(model, scope):
    with DefaultScope.overwrite_default_scope(scope):
        found = settings(model, cfg_of())
    for name, blocks_above in EXPECTED.items():
        assert found[name][0] == 0.5**blocks_above, name
    assert set(found) == {name for name, _ in model.named_parameters()}


def test_decay_options_are_those_of_mmengine(model):
    found = settings(
        model,
        cfg_of(
            norm_decay_mult=0.0,
            bias_decay_mult=0.2,
            flat_decay_mult=0.5,
            custom_keys={'mlp.fc2': dict(lr_mult=3.0, decay_mult=4.0)},
        ),
    )
    assert found['backbone.stages.0.0.norm1.weight'] == (0.5**5, 0)
    assert found['backbone.norm0.bias'] == (1, 0)
    assert found['head.bias'] == (1, pytest.approx(0.02))
    assert found['head.weight'] == (1, 0.1)
    scale = found['backbone.stages.3.0.mlp.act.scale']
    assert scale == (0.5, pytest.approx(0.05))
    custom = found['backbone.stages.3.0.mlp.fc2.weight']
    assert custom == (3 * 0.5, pytest.approx(0.4))


def test_equal_settings_share_a_group(model):
    wrapper = build_optim_wrapper(model, cfg_of(norm_decay_mult=0.0))
    # mmengine's own list has one more group, of the rate without decay.
    groups = wrapper.optimizer.param_groups
    keys = [(group['lr'], group['weight_decay']) for group in groups]
    assert len(keys) == len(set(keys)) == 2 * 7
    assert {lr for lr, _ in keys} == {0.5**i for i in range(7)}


@pytest.mark.parametrize(
    'backbone',
    [
        GFNet(dict(embed_dim=8, depth=5), img_size=32, out_indices=(4,)),
        GFNetPyramid({**TINY, 'layer_scale': None}, img_size=32),
    ],
)
def test_gfnet(backbone):
    found = settings(Model(backbone), cfg_of())
    assert found['backbone.pos_embed.weight'][0] == 0.5**6
    assert found['head.bias'][0] == 1


def test_backbone_alone_and_wrapped(model):
    expected = settings(model, cfg_of())
    alone = settings(model.backbone, cfg_of())
    assert alone == {
        name.removeprefix('backbone.'): value
        for name, value in expected.items()
        if name.startswith('backbone.')
    }
    # DistributedDataParallel keeps the model as `module`.
    parallel = nn.Module()
    parallel.module = model
    found = settings(parallel, cfg_of())
    assert found == {
        f'module.{name}': value for name, value in expected.items()
    }
    compiled = torch.compile(model)
    found = settings(compiled, cfg_of())
    assert found == {
        f'_orig_mod.{name}': value for name, value in expected.items()
    }


def test_frozen_parameters_are_left_out():
    model = Model(CDFFormer(TINY, img_size=32, frozen_stages=1))
    found = settings(model, cfg_of())
    assert 'backbone.stages.0.0.norm1.weight' not in found
    assert found['backbone.stages.1.1.norm1.weight'][0] == 0.5**3


def test_training_moves_the_stem_least(model):
    wrapper = build_optim_wrapper(model, cfg_of(rate=0.1))
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    wrapper.optimizer.step()
    moved = {
        n: (p - before[n]).abs().max().item()
        for n, p in model.named_parameters()
    }
    stem = moved['backbone.downsample_layers.0.conv.weight']
    assert stem < 1e-4 * moved['head.weight']


@pytest.mark.parametrize('rate', [None, 0, -0.5, 1.5, '0.9'])
def test_rate_out_of_range(model, rate):
    with pytest.raises(ConfigError, match='layer_decay_rate.*at most 1'):
        build_optim_wrapper(model, cfg_of(rate=rate))


def test_no_learning_rate(model):
    cfg = cfg_of()
    del cfg['optimizer']['lr']
    with pytest.raises(ConfigError, match='optimizer.lr'):
        build_optim_wrapper(model, cfg)


def test_backbone_that_does_not_tell():
    with pytest.raises(ConfigError, match='Linear has no get_layer_depth'):
        build_optim_wrapper(Model(nn.Linear(8, 8)), cfg_of())
