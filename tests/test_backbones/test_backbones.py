# Copyright (c) mmfft authors. All rights reserved.
"""What a user of OpenMMLab expects of any backbone, over all of these."""

import pytest
import torch
from mmengine.model import ExponentialMovingAverage
from mmengine.optim import build_optim_wrapper
from tiny_models import build, every_model, loss_of
from torch import nn

from mmfft import backbones
from mmfft.errors import ConfigError
from mmfft.layers import ExpandedGlobalFilter, HalfSpectrum, StarReLU
from mmfft.registry import MODELS


@every_model
@pytest.mark.parametrize('frozen', range(-1, 5))
def test_frozen_stages(name, frozen):
    model = build(name, backbones, frozen_stages=frozen, drop_path_rate=0.5)
    model.train()
    for _, parameter in model.named_parameters():
        parameter.grad = None
    outs = model(torch.randn(2, 3, 64, 64, requires_grad=True))
    loss_of(outs).backward()
    stage_of = dict(patch_embed=0, pos_embed=0, downsample_layers=0)
    for key, parameter in model.named_parameters():
        kind, first, *_ = key.split('.')
        if kind in ('stages', 'blocks'):
            level = int(first) + 1
        elif kind.startswith('norm'):
            level = int(kind.removeprefix('norm')) + 1
        else:
            number = int(first) if first.isdigit() else 0
            level = number + 1 if number else stage_of[kind]
        is_frozen = level <= frozen
        assert (parameter.grad is None) == is_frozen, key
    for i in range(max(frozen, 0)):
        blocks = getattr(model, 'stages', None) or model.blocks
        assert not blocks[i].training
    assert model.training


@every_model
def test_frozen_stages_out_of_range(name):
    with pytest.raises(ConfigError, match='frozen_stages=5 .* -1'):
        build(name, backbones, frozen_stages=5)


def test_an_activation_that_there_is_not():
    with pytest.raises(ConfigError, match="act_cfg=.*'Relu'.* not in"):
        build('dfformer', backbones, act_cfg=dict(type='Relu'))


@every_model
def test_norm_eval_is_taken_with_a_warning(name):
    with pytest.warns(UserWarning, match='norm_eval=True changes nothing in'):
        model = build(name, backbones, norm_eval=True).train()
    assert all(module.training for module in model.modules())


def test_the_boundary_in_a_config():
    arch = dict(embed_dims=[8] * 4, depths=[1] * 4)
    # JSON and some forms of configs have no tuples.
    model = MODELS.build(
        dict(type='CDFFormer', arch=arch, boundary=['zero', 'reflect'])
    )
    filters = [m for m in model.modules() if isinstance(m, HalfSpectrum)]
    assert {f.boundary for f in filters} == {('zero', 'reflect')}


def test_an_earlier_name_of_a_token_mixer():
    kwargs = dict(arch=dict(embed_dims=[8] * 4, depths=[1] * 4), img_size=32)
    torch.manual_seed(0)
    new = backbones.DFFormer(
        **kwargs, token_mixers=['ExpandedGlobalFilter', *['SepConv'] * 3]
    )
    torch.manual_seed(0)
    old = backbones.DFFormer(
        **kwargs, token_mixers=['GlobalFilter', *['SepConv'] * 3]
    )
    assert repr(old) == repr(new) and old.token_mixers == new.token_mixers
    assert isinstance(old.stages[0][0].token_mixer, ExpandedGlobalFilter)


def close_to_normal(values, std):
    """Mean and deviation within five standard errors."""
    error = std / values.numel() ** 0.5
    assert abs(values.mean()) < 5 * error
    assert abs(values.std() - std) < 5 * error


@every_model
def test_initial_values_are_the_published_distributions(name):
    wide = dict(embed_dims=[16, 32, 64, 64], depths=[1, 1, 1, 1])
    arch = {
        'gfnet': dict(embed_dim=64, depth=4),
        'gfnet-h': dict(**wide, layer_scale=0.5),
    }.get(name, wide)
    model = build(name, backbones, arch=arch, img_size=128)
    for module in model.modules():
        convolution = isinstance(module, nn.Conv2d)
        if isinstance(module, nn.Linear) or convolution:
            if convolution and name.startswith('gfnet'):
                # PyTorch's own: uniform in +-1 / sqrt(fan in).
                bound = module.weight[0].numel() ** -0.5
                assert module.weight.abs().max() <= bound
                assert module.weight.abs().max() > 0.9 * bound
                continue
            close_to_normal(module.weight.detach(), 0.02)
            assert module.bias is None or not module.bias.any()
        if isinstance(module, HalfSpectrum):
            close_to_normal(module.weight.detach(), 0.02)
        if isinstance(module, nn.LayerNorm):
            assert (module.weight == 1).all()
            assert module.bias is None or not module.bias.any()
        if isinstance(module, StarReLU):
            assert (module.scale.item(), module.bias.item()) == (1, 0)
    if name.startswith('gfnet'):
        close_to_normal(model.pos_embed.weight.detach(), 0.02)
    if name == 'gfnet-h':
        assert (model.blocks[0][0].gamma == 0.5).all()


@every_model
def test_no_decay_of_norms_biases_and_scalars(name):
    """By three rules of mmengine's own constructor, without names."""
    model = build(name, backbones)
    wrapper = build_optim_wrapper(
        model,
        dict(
            optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
            paramwise_cfg=dict(
                norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0
            ),
        ),
    )
    decayed = {
        id(p)
        for group in wrapper.optimizer.param_groups
        if group['weight_decay']
        for p in group['params']
    }
    for key, parameter in model.named_parameters():
        assert (id(parameter) in decayed) == (parameter.dim() > 1), key


@every_model
def test_moving_average(name):
    """Also on another grid than the stored one, where filters are kept.

    It writes past PyTorch's version counters; the evaluation loop calls
    eval() after it, which drops what is kept.
    """
    model = build(name, backbones)
    average = ExponentialMovingAverage(model, momentum=0.5).eval()
    x = torch.randn(1, 3, 96, 64)
    with torch.no_grad():
        average(x)
        for parameter in model.parameters():
            parameter.add_(1.0)
    average.update_parameters(model)
    average.update_parameters(model)
    average.eval()
    with torch.no_grad():
        ours = average(x)
    expected = build(name, backbones).eval()
    expected.load_state_dict(average.module.state_dict())
    with torch.no_grad():
        for out, same in zip(ours, expected(x)):
            torch.testing.assert_close(out, same)


def test_gfnet_as_a_feature_pyramid():
    """One scale to four by mmseg's own neck, from any scope."""
    pytest.importorskip('mmseg', reason="the neck is mmsegmentation's")
    net = build('gfnet', backbones, out_indices=(0, 1, 2, 3))
    neck = MODELS.build(
        dict(
            type='mmseg.Feature2Pyramid',
            embed_dim=16,
            norm_cfg=dict(type='BN'),
        )
    )
    outs = neck(net(torch.randn(2, 3, 64, 96)))
    assert [tuple(out.shape[1:]) for out in outs] == [
        (16, 32, 48),
        (16, 16, 24),
        (16, 8, 12),
        (16, 4, 6),
    ]
