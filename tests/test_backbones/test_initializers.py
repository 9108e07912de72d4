# Copyright (c) mmfft authors. All rights reserved.
import pytest
import torch
from mmengine.registry import DefaultScope

from mmfft import models
from mmfft.analysis.starts import PARTS, StartOfParts
from mmfft.backbones import CDFFormer, GFNetPyramid
from mmfft.errors import ConfigError
from mmfft.heads import MlpHead

TINY = dict(embed_dims=[32, 32, 32, 32], depths=[1, 1, 1, 1])


def start(model):
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model.init_weights()
    return model


def deviations(model):
    return {
        name: float(p.detach().std(correction=0))
        for name, p in model.named_parameters()
        if p.dim() > 1
    }


@pytest.mark.parametrize('cls', [CDFFormer, GFNetPyramid])
def test_a_small_arch_starts_as_the_plain_model(cls):
    arch = cls.small_archs[0]
    model = start(cls(arch, img_size=64))
    torch.manual_seed(0)
    plain = getattr(models, cls.__name__)(arch, img_size=64)
    assert deviations(model) == pytest.approx(deviations(plain), rel=0.3)


def test_init_cfg_replaces_init():
    constant = dict(type='Constant', layer='Linear', val=0.5)
    model = start(CDFFormer('nano', img_size=32, init_cfg=constant))
    assert bool((model.stages[2][0].mlp.fc1.weight == 0.5).all())
    assert model.stages[2][0].mlp.act.scale.item() == 1


def test_a_published_start_of_a_small_arch():
    model = start(CDFFormer('nano', img_size=32, init='published'))
    std = float(model.stages[2][0].mlp.fc1.weight.detach().std())
    assert std == pytest.approx(0.02, rel=0.1)


def test_a_head():
    head = start(MlpHead(10, 64, init_cfg=dict(type='mmfft.UnitVariance')))
    assert float(head.fc1.weight.detach().std()) == pytest.approx(0.125, 0.1)


def changed(parts):
    torch.manual_seed(0)
    model = start(
        CDFFormer(
            TINY,
            img_size=64,
            init_cfg=dict(type='mmfft.StartOfParts', parts=parts),
        )
    )
    linear = model.stages[2][0].mlp
    return dict(
        weights=float(linear.fc1.weight.detach().std()),
        ends=float(linear.fc2.weight.detach().std()),
        stars=float(linear.act.bias.detach()),
        filters=float(
            model.stages[2][0].token_mixer.basis.weight.detach().std()
        ),
    )


def test_parts_of_a_start():
    published = changed([])
    assert published['weights'] == pytest.approx(0.02, rel=0.1)
    # Others stay as they are.
    differing = {
        part: {
            what
            for what, value in changed([part]).items()
            if value != pytest.approx(published[what], rel=0.1)
        }
        for part in PARTS
    }
    assert differing == dict(
        fan_in={'weights', 'ends'},
        unit={'weights', 'ends'},
        centred={'stars'},
        strong_filters={'filters'},
        passing_filters={'filters'},
        shrunk_branches={'ends'},
    )
    with pytest.raises(ConfigError, match="'warm'"):
        StartOfParts(['warm'])


def test_the_parts_together_are_unit_variance():
    parts = ['unit', 'centred', 'shrunk_branches']
    ours = start(
        CDFFormer(
            TINY,
            img_size=64,
            init_cfg=dict(type='mmfft.StartOfParts', parts=parts),
        )
    )
    whole = start(CDFFormer(TINY, img_size=64, init='unit_variance'))
    assert deviations(ours) == pytest.approx(deviations(whole), rel=0.3)
