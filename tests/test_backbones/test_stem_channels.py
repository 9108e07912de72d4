# Copyright (c) mmfft authors. All rights reserved.
"""A training for other channels starts from weights for RGB."""

import pytest
import torch
from timm.models import adapt_input_conv
from tiny_models import build, every_model, stem_of
from torch import nn

from mmfft import backbones
from mmfft.errors import ConfigError


@pytest.mark.parametrize('channels', [1, 4, 13])
@every_model
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


def test_only_weights_for_rgb_are_adapted(tmp_path):
    path = str(tmp_path / 'four.pth')
    torch.save(build('gfnet', in_channels=4).state_dict(), path)
    init_cfg = dict(type='Pretrained', checkpoint=path)
    with pytest.raises(ConfigError, match='in_channels is 13, 4 in the file'):
        build('gfnet', backbones, in_channels=13, init_cfg=init_cfg)


def test_a_pretrained_whole_model_adapts_its_backbone(tmp_path):
    from mmpretrain.models import ImageClassifier

    def classifier(**kwargs):
        return ImageClassifier(
            build('cdfformer', backbones, out_norm=False),
            dict(type='GlobalAveragePooling'),
            dict(type='mmfft.MlpHead', num_classes=3, in_channels=32),
        )

    path = str(tmp_path / 'rgb.pth')
    donor = classifier()
    torch.save(dict(state_dict=donor.state_dict()), path)
    model = classifier()
    model.backbone = build(
        'cdfformer', backbones, out_norm=False, in_channels=1
    )
    model.init_cfg = dict(type='Pretrained', checkpoint=path)
    model.init_weights()
    assert torch.equal(model.head.fc2.weight, donor.head.fc2.weight)
    name = 'backbone.downsample_layers.0.conv.weight'
    torch.testing.assert_close(
        model.state_dict()[name], donor.state_dict()[name].sum(1, True)
    )
