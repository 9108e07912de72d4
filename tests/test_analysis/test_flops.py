# Copyright (c) mmfft authors. All rights reserved.
import json
from copy import deepcopy
from math import log2

import pytest
import timm
import torch
import torch.nn.functional as F
from config_files import ROOT, build, load
from mmengine.registry import MODELS
from oracle.flops import backbone_flops, classifier_flops

from mmfft.analysis.flops import config_flops, count_flops
from mmfft.backbones import CDFFormer, DFFormer, GFFormer, GFNet, GFNetPyramid
from mmfft.errors import ConfigError

SIZE = (64, 96)


def model_and_flops(family, arch, convention='mmfft', **kwargs):
    with torch.device('meta'):
        model = family(arch, out_indices=-1, **kwargs).eval()
    model.to_empty(device='cpu')
    image = torch.zeros(1, 3, *SIZE)
    return model, count_flops(model, image, convention=convention)


@pytest.mark.parametrize(
    'family, arch',
    [
        (family, arch)
        for family in (DFFormer, CDFFormer, GFFormer, GFNet, GFNetPyramid)
        for arch in family.arch_zoo
    ],
    ids=lambda value: getattr(value, '__name__', value),
)
def test_closed_form(family, arch):
    model, found = model_and_flops(family, arch, img_size=SIZE)
    expected = backbone_flops(model, SIZE)
    assert found.flops == pytest.approx(expected, rel=1e-6)
    assert found.params == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize('convention', ['gfnet', 'linear'])
@pytest.mark.parametrize(
    'family, arch',
    [(DFFormer, 's18'), (CDFFormer, 's18'), (GFFormer, 's18')]
    + [(GFNet, 'ti'), (GFNetPyramid, 'h-ti')],
)
def test_closed_form_in_other_conventions(family, arch, convention):
    model, found = model_and_flops(family, arch, convention, img_size=SIZE)
    expected = backbone_flops(model, SIZE, convention)
    assert found.flops == pytest.approx(expected, rel=1e-9)
    if convention == 'linear':
        assert set(found.by_operator) == {'linear', 'conv'}


def published_config(name):
    return f'configs/{name.split("-")[0]}/{name}_8xb128_in1k.py'


# What fvcore counts of the code of https://github.com/okojoalg/dfformer in
# linear layers and convolutions, in G.
@pytest.mark.parametrize(
    'name, expected',
    [
        ('dfformer-s18', 3.794),
        ('dfformer-s36', 7.351),
        ('dfformer-m36', 12.445),
        ('dfformer-b36', 22.104),
        ('cdfformer-s18', 3.882),
        ('cdfformer-s36', 7.528),
        ('cdfformer-m36', 12.709),
        ('cdfformer-b36', 22.456),
    ],
)
def test_linear_layers_of_dfformer(name, expected):
    config = published_config(name)
    flops = classifier_flops(
        load(config).model, build(config).backbone, 'linear'
    )
    assert round(flops / 1e9, 3) == expected


# What the script of GFNet's authors counts of the code of
# https://github.com/raoyongming/GFNet, and the column of its README, in G.
# Nothing there says how the README's figures were counted: they are lower for
# four models.
@pytest.mark.parametrize(
    'name, by_script, in_readme',
    [
        ('gfnet-ti', 1.285, 1.3),
        ('gfnet-xs', 2.853, 2.8),
        ('gfnet-s', 4.483, 4.5),
        ('gfnet-b', 7.930, 7.9),
        ('gfnet-h-ti', 2.076, 2.0),
        ('gfnet-h-s', 4.637, 4.5),
        ('gfnet-h-b', 8.595, 8.4),
    ],
)
def test_figures_of_gfnet(name, by_script, in_readme):
    config = published_config(name)
    flops = classifier_flops(
        load(config).model, build(config).backbone, 'gfnet'
    )
    assert flops / 1e9 == pytest.approx(by_script, abs=6e-4)
    agree = round(flops / 1e9, 1) == in_readme
    assert agree == (name in ('gfnet-ti', 'gfnet-s', 'gfnet-b'))


def test_published_counts_to_the_last_flop():
    config = load(published_config('gfnet-h-ti'))
    _, found = config_flops(config, convention='gfnet')
    # fvcore, on the published code and with the script of its authors.
    assert found.by_operator == dict(
        conv=86704128,
        linear=1952960512,
        layer_norm=14927360,
        spectral_filter=14701568 + 7103488,
        adaptive_avg_pool2d=49 * 512,  # theirs is a mean, which is not counted
    )
    config = load(published_config('dfformer-s18'))
    _, found = config_flops(config, convention='linear')
    assert found.by_operator == dict(conv=231813120, linear=3561947136)


def test_unknown_convention():
    config = load('configs/gfnet/gfnet-ti_8xb128_in1k.py')
    message = r"convention must be one of .*'linear'.*got 'macs'"
    with pytest.raises(ConfigError, match=message):
        config_flops(config, convention='macs')
    with pytest.raises(ConfigError, match=message):
        count_flops(torch.nn.Identity(), torch.zeros(1), convention='macs')


def test_attention_is_counted():
    class Attention(torch.nn.Module):
        def forward(self, query, key, value):
            return F.scaled_dot_product_attention(query, key, value)

    shapes = (2, 3, 5, 4), (2, 3, 7, 4), (2, 3, 7, 6)
    inputs = [torch.zeros(shape) for shape in shapes]
    counts = {
        convention: count_flops(
            Attention(), *inputs, convention=convention
        ).flops
        for convention in ('mmfft', 'gfnet', 'linear')
    }
    products = 2 * 3 * (5 * 7 * 4 + 5 * 7 * 6)
    assert counts == dict(mmfft=products, gfnet=products, linear=0)


def test_timm_classifier():
    config = load('configs/gfnet/gfnet-ti_8xb128_in1k.py')
    config.model = dict(
        type='TimmClassifier', model_name='resnet18', num_classes=10
    )
    with pytest.raises(ConfigError, match='ResNet has no img_size.*--shape'):
        config_flops(config)
    size, found = config_flops(config, [64])
    expected = count_flops(
        timm.create_model('resnet18', num_classes=10).eval(),
        torch.zeros(1, 3, 64, 64),
    )
    assert size == (64, 64)
    assert found.by_operator == expected.by_operator
    assert found.params == expected.params


def test_options_of_dynamic_filters():
    model, found = model_and_flops(
        DFFormer, 's18', img_size=SIZE, num_filters=2, reweight_ratio=0.125
    )
    expected = backbone_flops(model, SIZE)
    assert found.flops == pytest.approx(expected, rel=1e-6)


def test_resizing_is_not_counted():
    model, found = model_and_flops(DFFormer, 's18', img_size=75)
    expected = backbone_flops(model, SIZE)
    assert found.flops == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    'config',
    [
        'configs/gfnet/gfnet-h-ti_8xb128_in1k.py',
        'configs/cdfformer/cdfformer-s18_8xb64_cifar10.py',
    ],
)
def test_classifier(config):
    cfg = load(config)
    cfg.model.backbone.img_size = SIZE
    _, found = config_flops(cfg)
    with torch.device('meta'):
        backbone = MODELS.build(cfg.model.backbone)
    expected = classifier_flops(cfg.model, backbone)
    assert found.flops == pytest.approx(expected, rel=1e-6)


def test_transforms_of_afno():
    arch = dict(embed_dims=[16] * 4, depths=[1] * 4)
    model = DFFormer(arch, ['AFNO2D'] * 4, img_size=56).eval()
    image = torch.zeros(1, 3, 56, 56)
    found = count_flops(model, image).by_operator
    assert found['rfft2'] == found['irfft2']
    per_channel = sum(2.5 * n * n * log2(n * n) for n in (14, 7, 4, 2))
    assert found['rfft2'] == int(per_channel * 32)
    found = count_flops(model, image, convention='gfnet').by_operator
    there = 196 * 8 + 49 * 6 + 16 * 4 + 4 * 2
    back = 112 * 7 + 28 * 5 + 12 * 4 + 4 * 2  # of the half spectra
    assert (found['rfft2'], found['irfft2']) == (32 * there, 32 * back)


@pytest.mark.parametrize(
    'config',
    [
        'configs/dfformer/retinanet_dfformer-s18_fpn_1x_coco.py',
        'configs/cdfformer/mask-rcnn_cdfformer-s18_fpn_1x_coco.py',
        'configs/dfformer/dfformer-s18_fpn_8xb4-40k_ade20k-512x512.py',
    ],
)
def test_models_of_every_toolbox(config):
    cfg = load(config)
    if 'mask-rcnn' in config:
        cfg.model.test_cfg.rpn.max_per_img = 10
    size, found = config_flops(cfg, [64, 96], depth=5)
    assert size == (64, 96)
    assert found.by_operator['dynamic_spectral_filter'] > 0
    assert 'backbone.stages.3.2.token_mixer' in found.table


@pytest.mark.parametrize('shape', [[0], [224, -1], [1, 2, 3]])
def test_shape_of_no_image(shape):
    config = load('configs/gfnet/gfnet-ti_8xb128_in1k.py')
    with pytest.raises(ConfigError, match='--shape'):
        config_flops(deepcopy(config), shape)


@pytest.mark.slow
def test_command_line(call_tool, tmp_path, capsys):
    out = tmp_path / 'flops.json'
    call_tool(
        'analysis_tools/get_flops.py',
        'configs/gfnet/gfnet-ti_8xb128_in1k.py',
        '--convention',
        'linear',
        '--out',
        out,
        cwd=ROOT,
    )
    said = capsys.readouterr().out
    assert 'blocks.0' in said
    assert 'Convention: linear' in said
    figures = json.loads(out.read_text())
    assert figures['convention'] == 'linear'
    assert set(figures['by_operator']) == {'linear', 'conv'}
    assert figures['shape'] == [224, 224]
    assert f'{figures["flops"] / 1e9:.3f} G' in said
