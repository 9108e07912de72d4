# Copyright (c) mmfft authors. All rights reserved.
import pytest
import torch
from mmengine.registry import init_default_scope
from published_records import (
    SHAPES,
    published_state_dict,
    registered_backbone,
)

from mmfft.errors import ConfigError
from mmfft.openmmlab.convert import convert_file, describe
from mmfft.registry import MODELS


def on_meta(arch):
    return {k: torch.empty(s, device='meta') for k, s in SHAPES[arch].items()}


@pytest.mark.parametrize('arch', SHAPES)
def test_every_variant_is_recognized(arch):
    config = describe(on_meta(arch))
    init_default_scope('mmpretrain')
    with torch.device('meta'):
        found = MODELS.build(config).backbone
        expected = registered_backbone(arch)
    assert type(found) is type(expected)
    assert found.img_size == (224, 224)
    assert config['head']['num_classes'] == 1000
    if arch.endswith('relu'):  # which names and shapes do not tell
        assert config['backbone']['act_cfg'] == dict(type='GELU')
        return
    blocks = ('stages', 'downsample_layers', 'patch_embed', 'blocks')
    assert {
        k: v.shape
        for k, v in found.state_dict().items()
        if k.startswith(blocks)
    } == {
        k: v.shape
        for k, v in expected.state_dict().items()
        if k.startswith(blocks)
    }
    if 'dfformer' in arch:
        assert found.num_filters == expected.num_filters
        assert found.reweight_ratio == expected.reweight_ratio


def test_the_command_writes_a_strict_checkpoint(call_tool, tmp_path, capsys):
    weights = published_state_dict('cdfformer_s18')
    source, target = tmp_path / 'in.pth', tmp_path / 'new' / 'out.pth'
    torch.save(dict(model=weights), source)
    call_tool(
        'model_converters/published_to_mmfft.py',
        source,
        target,
        cwd=tmp_path,
    )
    printed = capsys.readouterr().out
    assert "'type': 'mmfft.CDFFormer', 'arch': 's18'" in ' '.join(
        printed.split()
    )
    checkpoint = torch.load(target, weights_only=True)
    init_default_scope('mmpretrain')
    model = MODELS.build(checkpoint['meta']['model'])
    model.load_state_dict(checkpoint['state_dict'], strict=True)
    assert torch.equal(model.head.pre_norm.weight, weights['norm.weight'])


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda w: w.pop('blocks.3.mlp.fc1.bias'), r'blocks\.3\.mlp\.fc1\.b'),
        (lambda w: w.update(extra=w['head.bias']), r"has no \['extra'\]"),
        (
            lambda w: w.update({'norm.bias': w['norm.bias'][:-1]}),
            r'norm11\.bias',
        ),
    ],
)
def test_what_does_not_fit_is_named(change, message, tmp_path):
    weights = published_state_dict('gfnet-ti')
    change(weights)
    torch.save(weights, tmp_path / 'in.pth')
    target = tmp_path / 'out.pth'
    with pytest.raises(ConfigError, match=message):
        convert_file(str(tmp_path / 'in.pth'), str(target))
    assert not target.exists()


def test_an_existing_target_is_kept(tmp_path):
    (tmp_path / 'out.pth').write_text('mine')
    with pytest.raises(ConfigError, match='exists already'):
        convert_file(str(tmp_path / 'in.pth'), str(tmp_path / 'out.pth'))
    assert (tmp_path / 'out.pth').read_text() == 'mine'
