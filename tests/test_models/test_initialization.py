# Copyright (c) mmfft authors. All rights reserved.
import math

import pytest
import torch
from torch import nn

from mmfft.errors import ConfigError
from mmfft.layers import HalfSpectrum, StarReLU
from mmfft.models import (
    CDFFormer,
    DFFormer,
    GFNetPyramid,
    MlpClassifier,
)
from mmfft.models.initialization import init_unit_variance

SMALL = [
    (cls, arch)
    for cls in (CDFFormer, DFFormer, GFNetPyramid)
    for arch in cls.small_archs
]


def deviations(model):
    return {
        name: float(layer.weight.detach().std())
        for name, layer in model.named_modules()
        if isinstance(layer, (nn.Conv2d, nn.Linear))
    }


@pytest.mark.parametrize(('cls', 'arch'), SMALL)
def test_small_archs_have_unit_variance(cls, arch):
    torch.manual_seed(0)
    model = cls(arch, img_size=64)
    assert model.init == 'unit_variance'
    found = deviations(model)
    ends = ('.pwconv2', 'mlp.fc2')
    branches = sum(name.endswith(ends) for name in found)
    # Two in a block, one in those of GFNet.
    assert branches == sum(model.arch['depths']) * (
        1 if cls is GFNetPyramid else 2
    )
    for name, layer in model.named_modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            expected = layer.weight[0].numel() ** -0.5
            if name.endswith(ends):
                expected /= branches**0.5
            # Normal, truncated far out.
            assert found[name] == pytest.approx(expected, rel=0.2)
            assert layer.bias is None or not layer.bias.any()
        elif isinstance(layer, StarReLU):
            y = layer(torch.randn(100_000)).detach()
            assert float(y.mean()) == pytest.approx(0, abs=0.02)
            assert float(y.std()) == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize(
    ('cls', 'arch'), [(CDFFormer, 's18'), (GFNetPyramid, 'h-ti')]
)
def test_published_archs_keep_the_published_start(cls, arch):
    model = cls(arch, img_size=32, out_indices=(0,))
    assert model.init == 'published'
    found = deviations(model)
    linear = [n for n in found if n.endswith(('fc1', 'fc2'))]
    assert all(found[n] == pytest.approx(0.02, rel=0.1) for n in linear)
    for layer in model.modules():
        if isinstance(layer, StarReLU):
            assert (layer.scale.item(), layer.bias.item()) == (1, 0)
        if isinstance(layer, HalfSpectrum):
            std = float(layer.weight.detach().std())
            assert std == pytest.approx(0.02, rel=0.1)


def test_the_argument_has_the_last_word():
    arch = dict(embed_dims=[8, 8, 8, 8], depths=[1, 1, 1, 1])
    assert CDFFormer(arch, img_size=32).init == 'published'
    model = CDFFormer(arch, img_size=32, init='unit_variance')
    assert model.init == 'unit_variance'
    assert CDFFormer('nano', img_size=32, init='published').init == 'published'
    assert set(model.state_dict()) == set(
        CDFFormer(arch, img_size=32).state_dict()
    )
    with pytest.raises(ConfigError, match="init.*'fan_in'"):
        CDFFormer('nano', init='fan_in')


def test_features_keep_their_variance():
    torch.manual_seed(0)
    ratios = {}
    for init in ('published', 'unit_variance'):
        model = CDFFormer('nano', img_size=64, init=init)
        seen = ratios.setdefault(init, [])
        for block in (b for stage in model.stages[:2] for b in stage):
            for part in (block.res_scale1, block.res_scale2):
                part.register_forward_pre_hook(
                    lambda module, args, seen=seen: seen.append(
                        float(args[1].std() / args[0].std())
                    )
                )
        with torch.no_grad():
            model(torch.randn(4, 3, 64, 64))
    # Each of twelve branches adds about 1 / sqrt(12) of its input.
    assert all(0.1 < ratio < 0.6 for ratio in ratios['unit_variance'])
    assert all(ratio < 0.1 for ratio in ratios['published'])


@pytest.mark.parametrize('depth', [1, 6])
def test_features_do_not_grow_with_depth(depth):
    torch.manual_seed(0)
    arch = dict(embed_dims=[16] * 4, depths=[depth] * 4)
    model = CDFFormer(arch, img_size=64, init='unit_variance')
    seen = []
    for block in model.stages[0]:
        block.register_forward_hook(
            lambda module, args, out: seen.append(
                float(out.std() / args[0].std())
            )
        )
    with torch.no_grad():
        model(torch.randn(4, 3, 64, 64))
    assert 1 < math.prod(seen) < 1.5


def test_a_module_without_branches():
    torch.manual_seed(0)
    head = MlpClassifier(10, 64)
    init_unit_variance(head)
    assert deviations(head)['fc1'] == pytest.approx(1 / 8, rel=0.1)
    assert deviations(head)['fc2'] == pytest.approx(1 / 16, rel=0.1)
