# Copyright (c) mmfft authors. All rights reserved.
"""Weights of other arguments: what is refused, named and adapted."""

import pytest
import torch
from timm.models import adapt_input_conv
from torch import nn

from mmfft import backbones, models
from mmfft.errors import ConfigError

STAGES = dict(embed_dims=[8, 16, 24, 32], depths=[1, 1, 2, 1])
ARCHES = dict(
    CDFFormer=STAGES,
    DFFormer=STAGES,
    GFFormer=STAGES,
    GFNet=dict(embed_dim=16, depth=2),
    GFNetPyramid=dict(STAGES, layer_scale=0.1),
)
STEMS = dict(
    GFNet='patch_embed.proj.weight', GFNetPyramid='patch_embed.0.proj.weight'
)


def build(name, where=models, **kwargs):
    arch = dict(ARCHES[name], **kwargs.pop('arch', {}))
    return getattr(where, name)(arch, **dict(img_size=32) | kwargs)


def stem_of(name):
    return STEMS.get(name, 'downsample_layers.0.conv.weight')


@pytest.mark.parametrize('channels', [1, 4, 13])
@pytest.mark.parametrize('name', ARCHES)
def test_a_start_for_training_adapts_the_stem_as_timm_does(
    name, channels, tmp_path, monkeypatch
):
    said = []
    monkeypatch.setattr(
        'mmfft.backbones.base.print_log',
        lambda message, **kwargs: said.append(message),
    )
    weights = build(name).state_dict()
    path = str(tmp_path / 'rgb.pth')
    torch.save(weights, path)
    init_cfg = dict(type='Pretrained', checkpoint=path)
    model = build(name, backbones, in_channels=channels, init_cfg=init_cfg)
    model.init_weights()
    stem = stem_of(name)
    expected = adapt_input_conv(channels, weights[stem])
    assert torch.equal(model.state_dict()[stem], expected)
    how = 'summed' if channels == 1 else 'repeated'
    assert (
        f'; the 3 channels of the stem {how} for in_channels={channels}'
        in (said[0])
    )
    # An image that is the same in all channels is seen as before.
    images = torch.rand(1, 1, 32, 32)
    grey, rgb = (
        nn.functional.conv2d(images.expand(-1, w.shape[1], -1, -1), w)
        for w in (expected, weights[stem])
    )
    if channels in (1, 3):
        torch.testing.assert_close(grey, rgb)


@pytest.mark.parametrize('name', ARCHES)
def test_a_plain_load_adapts_nothing_and_names_the_argument(name):
    weights = build(name).state_dict()
    model = build(name, in_channels=4)
    reason = f'{name}: in_channels is 4, 3 in the file: {stem_of(name)}'
    with pytest.raises(ConfigError, match=f'does not fit {reason}'):
        model.load_state_dict(weights)


def test_only_weights_for_rgb_are_adapted(tmp_path):
    path = str(tmp_path / 'four.pth')
    torch.save(build('GFNet', in_channels=4).state_dict(), path)
    init_cfg = dict(type='Pretrained', checkpoint=path)
    model = build('GFNet', backbones, in_channels=13, init_cfg=init_cfg)
    with pytest.raises(ConfigError, match='in_channels is 13, 4 in the file'):
        model.init_weights()


def test_a_pretrained_whole_model_adapts_its_backbone(tmp_path):
    from mmpretrain.models import ImageClassifier

    def classifier(**kwargs):
        return ImageClassifier(
            build('CDFFormer', backbones, out_norm=False),
            dict(type='GlobalAveragePooling'),
            dict(type='mmfft.MlpHead', num_classes=3, in_channels=32),
        )

    path = str(tmp_path / 'rgb.pth')
    donor = classifier()
    torch.save(dict(state_dict=donor.state_dict()), path)
    model = classifier()
    model.backbone = build(
        'CDFFormer', backbones, out_norm=False, in_channels=1
    )
    model.init_cfg = dict(type='Pretrained', checkpoint=path)
    model.init_weights()
    assert torch.equal(model.head.fc2.weight, donor.head.fc2.weight)
    name = 'backbone.downsample_layers.0.conv.weight'
    torch.testing.assert_close(
        model.state_dict()[name], donor.state_dict()[name].sum(1, True)
    )


@pytest.mark.parametrize(
    ('name', 'theirs', 'ours', 'said'),
    [
        ('DFFormer', {}, {}, []),
        ('DFFormer', dict(img_size=64), {}, []),
        ('DFFormer', {}, dict(num_filters=2), ['num_filters is 2, 4']),
        (
            'DFFormer',
            dict(reweight_ratio=0.5),
            {},
            ['reweight_ratio is 0.25, 0.5'],
        ),
        (
            'DFFormer',
            dict(arch=dict(embed_dims=[8, 16, 16, 32])),
            {},
            ['arch.embed_dims is [8, 16, 24, 32], [8, 16, 16, 32]'],
        ),
        # Levels that are not built may be of any kind.
        (
            'DFFormer',
            dict(arch=dict(embed_dims=[8, 16, 16, 32])),
            dict(out_indices=(0, 1)),
            [],
        ),
        ('DFFormer', dict(out_indices=(0, 1)), {}, []),
        (
            'CDFFormer',
            dict(arch=dict(depths=[1, 1, 3, 1])),
            dict(act_layer=nn.GELU),
            [
                'arch.depths is [1, 1, 2, 1], [1, 1, 3, 1]',
                'act_layer (act_cfg) is one without parameters, one with bias '
                'and scale',
            ],
        ),
        (
            'GFFormer',
            dict(
                token_mixers=['AFNO2D', *['ExpandedGlobalFilter'] * 3],
                out_indices=1,
            ),
            dict(token_mixers=['SepConv'] * 4, out_indices=1),
            [
                "token_mixers is ['SepConv', 'SepConv'], ['AFNO2D', "
                "'ExpandedGlobalFilter']"
            ],
        ),
        ('GFNet', dict(patch_size=8), {}, ['patch_size is 16, 8']),
        ('GFNet', dict(arch=dict(depth=3)), {}, ['arch.depth is 2, 3']),
        ('GFNet', {}, dict(arch=dict(depth=3)), ['arch.depth is 3, 2']),
        ('GFNet', {}, dict(out_indices=0), []),
        (
            'GFNetPyramid',
            dict(in_channels=1),
            {},
            ['in_channels is 3, 1'],
        ),
    ],
)
def test_arguments_that_differ_are_named(name, theirs, ours, said):
    donor, model = build(name, **theirs), build(name, **ours)
    assert model.differing_arguments(donor.state_dict()) == [
        f'{phrase} in the file' for phrase in said
    ]
