# Copyright (c) mmfft authors. All rights reserved.
"""Classifiers as folders that timm reads."""

import functools
import json

import pytest
import timm
import torch
import yaml
from config_files import load
from conftest import ROOT
from mmengine.fileio import load as load_file
from mmengine.registry import MODELS, init_default_scope
from published_records import published_state_dict

from mmfft.deploy.model_card import model_card

CLS = 'configs/demo/cdfformer-nano_1xb32-6e_digit-crops.py'
NAMES = [f'digit {i}' for i in range(10)]


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A classifier of mmpretrain and its checkpoint."""
    folder = tmp_path_factory.mktemp('trained')
    init_default_scope('mmpretrain')
    torch.manual_seed(0)
    model = MODELS.build(load(CLS).model).eval()
    meta = dict(dataset_meta=dict(classes=tuple(NAMES)))
    checkpoint = dict(meta=meta, state_dict=model.state_dict())
    torch.save(checkpoint, folder / 'epoch_1.pth')
    return model, folder / 'epoch_1.pth'


@pytest.fixture
def publish(tmp_path, call_tool, capsys):
    """Call the tool; returns what it printed, or its error."""

    def run(checkpoint, name, *options, out='out'):
        arguments = [checkpoint, '--model', name, '--out', out, *options]
        tool = 'model_converters/publish_to_hub.py'
        try:
            call_tool(tool, *arguments, cwd=tmp_path)
        except SystemExit as end:
            assert end.code == 2
            return capsys.readouterr().err
        return capsys.readouterr().out

    return run


def described(folder):
    config = json.loads((folder / 'config.json').read_text())
    readme = (folder / 'README.md').read_text()
    _, header, text = readme.split('---\n')
    return config, yaml.safe_load(header), text


def test_a_classifier_of_ones_own(trained, tmp_path, publish):
    said = publish(trained[1], 'cdfformer_nano')
    assert said.startswith('written: out\nnum_classes: 10\nlicense: unknown\n')
    model = timm.create_model(f'local-dir:{tmp_path / "out"}', pretrained=True)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        logits = trained[0](images, mode='tensor')
        torch.testing.assert_close(model.eval()(images), logits)
    config, header, text = described(tmp_path / 'out')
    assert config['architecture'] == 'cdfformer_nano'
    assert config['label_names'] == NAMES
    assert config['model_args']['img_size'] == [64, 64]
    assert config['pretrained_cfg']['input_size'] == [3, 64, 64]
    assert config['pretrained_cfg']['pool_size'] == [2, 2]
    # What is known of other weights is not said of these.
    for key in ('tag', 'origin_url', 'description', 'url'):
        assert key not in config['pretrained_cfg']
    assert header['license'] == 'unknown' and 'datasets' not in header
    assert 'not those of a publication' in text
    assert '- Classes: 10\n' in text and 'FLOPs' not in text
    assert 'https://arxiv.org/abs/2303.03932' in text
    assert '```bibtex\n@inproceedings{tatsunami2024fft,' in text


def test_published_weights(cache, tmp_path, publish):
    weights = published_state_dict('gfnet-ti')
    torch.save(weights, cache / 'gfnet-ti.pth')
    said = publish('mmfft://gfnet-ti_in1k', 'gfnet_ti')
    assert 'license: mit\ninput_size: (3, 224, 224)\n' in said
    model = timm.create_model(f'local-dir:{tmp_path / "out"}', pretrained=True)
    stem = model.backbone.patch_embed.proj.weight
    assert torch.equal(stem, weights['patch_embed.proj.weight'])
    config, header, text = described(tmp_path / 'out')
    assert config['pretrained_cfg']['origin_url'].endswith('raoyongming/GFNet')
    assert header['datasets'] == ['imagenet-1k']
    assert header['license'] == 'mit'
    assert '- Parameters (M): 7.51\n' in text
    assert 'FLOPs (G), a multiplication with an addition as one: 1.30' in text
    assert 'not reproduced:**\n  - Top 1 Accuracy: 74.6\n' in text
    assert 'the accuracy on the data set were not reproduced' in text


@pytest.mark.parametrize(
    'pipeline, expected',
    [
        ('', dict(input_size=[3, 64, 64], crop_pct=1.0, crop_mode='center')),
        (
            "dict(type='ResizeEdge', scale=80, edge='short',"
            " backend='pillow', interpolation='bilinear'),"
            "dict(type='CenterCrop', crop_size=60),",
            dict(
                input_size=[3, 60, 60],
                crop_pct=0.75,
                crop_mode='center',
                interpolation='bilinear',
            ),
        ),
        (
            "dict(type='Resize', scale=(96, 48), backend='pillow',"
            " interpolation='bicubic'),",
            dict(input_size=[3, 48, 96], crop_pct=1.0, crop_mode='squash'),
        ),
        (
            "dict(type='ResizeEdge', scale=80, edge='long'),",
            r"resizes by ['edge'], which timm cannot",
        ),
    ],
)
def test_images_are_prepared_as_by_the_config(
    pipeline, expected, trained, tmp_path, publish
):
    config = tmp_path / 'own.py'
    config.write_text(
        f'_base_ = {str(ROOT / CLS)!r}\n'
        f"steps = [dict(type='LoadImageFromFile'), {pipeline}"
        " dict(type='PackInputs')]\n"
        'test_dataloader = dict(dataset=dict(pipeline=steps))\n'
        'data_preprocessor = dict(mean=[0., 51., 102.], std=[51.] * 3)\n'
    )
    said = publish(trained[1], 'cdfformer_nano', '--config', config)
    if isinstance(expected, str):
        assert expected in said
        return
    cfg = described(tmp_path / 'out')[0]['pretrained_cfg']
    assert {key: cfg[key] for key in expected} == expected
    assert cfg['mean'] == [0, 0.2, 0.4] and cfg['std'] == [0.2] * 3


def test_filters_work_as_by_the_config(trained, tmp_path, publish):
    config = tmp_path / 'own.py'
    config.write_text(
        f'_base_ = {str(ROOT / CLS)!r}\n'
        "model = dict(backbone=dict(filter_resize='kernel', "
        "boundary=('zero', 'reflect')))\n"
    )
    publish(trained[1], 'cdfformer_nano', '--config', config)
    model = timm.create_model(f'local-dir:{tmp_path / "out"}', pretrained=True)
    mixer = model.backbone.stages[2][0].token_mixer
    assert mixer.basis.filter_resize == 'kernel'
    assert mixer.basis.boundary == ('zero', 'reflect')


@pytest.mark.parametrize(
    'options, sentence',
    [
        (['to_rgb=False'], 'data_preprocessor.to_rgb: the config prepares'),
        (['mean=[1.]', 'std=[1.]'], 'mean has 1 channels in the config'),
    ],
)
def test_a_preparation_that_timm_has_not(
    options, sentence, trained, tmp_path, publish
):
    config = tmp_path / 'own.py'
    config.write_text(
        f'_base_ = {str(ROOT / CLS)!r}\n'
        f'data_preprocessor = dict({", ".join(options)})\n'
    )
    said = publish(trained[1], 'cdfformer_nano', '--config', config)
    assert sentence in said
    assert not (tmp_path / 'out').exists()


def test_what_does_not_fit_the_name_is_refused(trained, tmp_path, publish):
    _, file = trained
    assert "model 'cdfformer_n' is not known: choose" in publish(
        file, 'cdfformer_n'
    )
    assert "'gone.pth' does not exist" in publish('gone.pth', 'gfnet_ti')
    assert 'is not of a classifier' in publish(file, 'gfnet_ti')
    assert 'token_mixers is' in publish(file, 'dfformer_nano')
    assert 'arch.embed_dims is' in publish(file, 'cdfformer_micro')
    checkpoint = torch.load(file)
    more = dict(checkpoint['state_dict'], neck=torch.ones(1))
    torch.save(more, tmp_path / 'more.pth')
    assert (
        "has 1 tensors that 'cdfformer_nano' does not, such as ['neck']"
        in (publish('more.pth', 'cdfformer_nano'))
    )
    checkpoint['meta']['dataset_meta']['classes'] = ('a', 'b')
    torch.save(checkpoint, tmp_path / 'two.pth')
    assert '2 names of classes are told, and the checkpoint has 10' in (
        publish('two.pth', 'cdfformer_nano')
    )
    assert not [p for p in tmp_path.iterdir() if 'out' in p.name]


def test_nothing_is_overwritten(trained, tmp_path, publish):
    (tmp_path / 'out').mkdir()
    assert "'out' exists already" in publish(trained[1], 'cdfformer_nano')
    assert not list((tmp_path / 'out').iterdir())


def test_a_licence_that_is_given(trained, tmp_path, publish):
    publish(trained[1], 'cdfformer_nano', '--license', 'apache-2.0')
    config, header, _ = described(tmp_path / 'out')
    assert header['license'] == 'apache-2.0'
    assert config['pretrained_cfg']['license'] == 'apache-2.0'


def test_names_of_every_kind_have_a_card(monkeypatch):
    monkeypatch.setattr(
        'mmfft.deploy.model_card.load', functools.cache(load_file)
    )
    for name in (
        'cdfformer_b36',
        'dfformer_s18_afno',
        'dfformer_micro',
        'gfformer_s18',
        'gfnet_h_nano',
        'gfnet_xs',
    ):
        with torch.device('meta'):
            model = timm.create_model(name)
        card = model_card(model, name, False, 'unknown')
        # A metafile has the costs at 224 pixels and 1000 classes.
        assert 'FLOPs (G)' in card and '@inproceedings' in card
        own = 'micro' in name or 'nano' in name
        assert ("mmfft's own, in no paper" in card) == own
