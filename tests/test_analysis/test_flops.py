# Copyright (c) mmfft authors. All rights reserved.
import json
from copy import deepcopy
from math import log2

import pytest
import torch
from config_files import ROOT, load
from mmengine.registry import MODELS
from oracle.flops import backbone_flops, classifier_flops

from mmfft.analysis.flops import config_flops, count_flops
from mmfft.backbones import CDFFormer, DFFormer, GFFormer, GFNet, GFNetPyramid
from mmfft.errors import ConfigError

SIZE = (64, 96)


def model_and_flops(family, arch, **kwargs):
    with torch.device('meta'):
        model = family(arch, out_indices=-1, **kwargs).eval()
    model.to_empty(device='cpu')
    return model, count_flops(model, torch.zeros(1, 3, *SIZE))


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
    expected, _ = backbone_flops(model, SIZE)
    assert found.flops == pytest.approx(expected, rel=1e-6)
    assert found.params == sum(p.numel() for p in model.parameters())


def test_options_of_dynamic_filters():
    model, found = model_and_flops(
        DFFormer, 's18', img_size=SIZE, num_filters=2, reweight_ratio=0.125
    )
    expected, _ = backbone_flops(model, SIZE)
    assert found.flops == pytest.approx(expected, rel=1e-6)


def test_resizing_is_not_counted():
    model, found = model_and_flops(DFFormer, 's18', img_size=75)
    expected, _ = backbone_flops(model, SIZE)
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
    found = count_flops(model, torch.zeros(1, 3, 56, 56)).by_operator
    assert found['rfft2'] == found['irfft2']
    per_channel = sum(2.5 * n * n * log2(n * n) for n in (14, 7, 4, 2))
    assert found['rfft2'] == int(per_channel * 32)


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
        '--out',
        out,
        cwd=ROOT,
    )
    said = capsys.readouterr().out
    assert 'blocks.0' in said
    figures = json.loads(out.read_text())
    assert figures['shape'] == [224, 224]
    assert f'{figures["flops"] / 1e9:.3f} G' in said
