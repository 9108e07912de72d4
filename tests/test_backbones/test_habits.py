# Copyright (c) mmfft authors. All rights reserved.
"""What a user of OpenMMLab expects of any backbone, over all of these."""

import pytest
import torch
from mmengine.model import ExponentialMovingAverage
from mmengine.optim import build_optim_wrapper
from test_base import build, every_backbone, loss_of
from torch import nn

from mmfft.layers import HalfSpectrum, StarReLU
from mmfft.registry import MODELS


@every_backbone
def test_norm_eval(name):
    model = build(name, norm_eval=True, drop_path_rate=0.1).train()
    norms = [m for m in model.modules() if isinstance(m, nn.LayerNorm)]
    assert norms
    assert not any(norm.training for norm in norms)
    assert all(
        m.training
        for m in model.modules()
        if not list(m.children()) and m not in norms
    )
    plain = build(name).train()
    assert all(
        m.training for m in plain.modules() if isinstance(m, nn.LayerNorm)
    )


@every_backbone
def test_checkpointing_keeps_less(name):
    """Bytes that autograd holds between forward and backward."""

    def kept(with_cp):
        model = build(name, with_cp=with_cp).train()
        own = {p.data_ptr() for p in model.parameters()}
        sizes = {}

        def pack(tensor):
            if tensor.data_ptr() not in own:
                sizes[tensor.data_ptr()] = tensor.numel()
            return tensor

        x = torch.randn(2, 3, 64, 64)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            loss_of(model(x))
        return sum(sizes.values())

    assert kept(True) < 0.6 * kept(False)


def close_to_normal(values, std):
    """Mean and deviation within five standard errors."""
    error = std / values.numel() ** 0.5
    assert abs(values.mean()) < 5 * error
    assert abs(values.std() - std) < 5 * error


@every_backbone
def test_initial_values_are_the_published_distributions(name):
    wide = dict(embed_dims=[16, 32, 64, 64], depths=[1, 1, 1, 1])
    arch = {
        'gfnet': dict(embed_dim=64, depth=4),
        'gfnet-h': dict(**wide, layer_scale=0.5),
    }.get(name, wide)
    model = build(name, arch=arch, img_size=128)
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


@every_backbone
def test_no_decay_of_norms_biases_and_scalars(name):
    """By three rules of mmengine's own constructor, without names."""
    model = build(name)
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


@every_backbone
def test_moving_average(name):
    """Also on another grid than the stored one, where filters are kept.

    It writes past PyTorch's version counters; the evaluation loop calls
    eval() after it, which drops what is kept.
    """
    model = build(name)
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
    expected = build(name).eval()
    expected.load_state_dict(average.module.state_dict())
    with torch.no_grad():
        for out, same in zip(ours, expected(x)):
            torch.testing.assert_close(out, same)


def test_gfnet_as_a_feature_pyramid():
    """One scale to four by mmseg's own neck, from any scope."""
    pytest.importorskip('mmseg', reason="the neck is mmsegmentation's")
    net = build('gfnet', out_indices=(0, 1, 2, 3))
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
