# Copyright (c) mmfft authors. All rights reserved.
import pytest
import timm
import torch
from config_files import ROOT, load
from PIL import Image
from random_weights import save_random_weights

from mmfft.analysis.feature_models import (
    features_at,
    label,
    last_features,
    load_feature_model,
    preprocessor_of,
    read_images,
)
from mmfft.errors import ConfigError

CLS = 'configs/demo/cdfformer-nano_1xb32-6e_digit-crops.py'


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    return save_random_weights(load(CLS), tmp_path_factory.mktemp('cls'))


def test_a_config_gives_its_backbone_with_the_weights(checkpoint):
    model = load_feature_model(f'{ROOT / CLS}={checkpoint}')
    weights = torch.load(checkpoint)['state_dict']
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, weights[f'backbone.{name}'])
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(features_at(model, x, 32), model(x)[-1])
    assert features_at(model, x, 4).shape == (1, 24, 16, 16)
    assert last_features(model, x).shape == (1, 2, 2, 128)
    with pytest.raises(ConfigError, match=r'\[4, 8, 16, 32\], not 2'):
        features_at(model, x, 2)


def test_weights_are_random_without_a_checkpoint_and_say_so(checkpoint):
    torch.manual_seed(0)
    first = load_feature_model(str(ROOT / CLS), 96)
    assert first.img_size == (96, 96)
    # As the config initializes them, not PyTorch's own.
    weight = first.stages[3][0].mlp.fc1.weight
    assert weight.std().item() == pytest.approx(128**-0.5, rel=0.05)
    assert label(str(ROOT / CLS)).endswith('(random weights)')
    assert label(f'a.py={checkpoint}').endswith('/random')


def test_weights_are_those_of_the_init_cfg_but_not_from_files(tmp_path):
    config = tmp_path / 'normal.py'
    config.write_text(
        f'_base_ = {str(ROOT / CLS)!r}\n'
        'model = dict(backbone=dict(init_cfg=[\n'
        "    dict(type='Normal', layer='Linear', std=0.3),\n"
        "    dict(type='Pretrained', checkpoint='nowhere.pth')]))\n"
    )
    weight = load_feature_model(str(config)).stages[3][0].mlp.fc1.weight
    assert weight.std().item() == pytest.approx(0.3, rel=0.05)


@pytest.mark.parametrize('spec', [str(ROOT / CLS), 'cdfformer_s18'])
def test_arguments_of_the_backbone(spec):
    model = load_feature_model(spec, 64, num_filters=2)
    backbone = getattr(model, 'backbone', model)
    assert backbone.img_size == (64, 64)
    assert backbone.stages[3][0].token_mixer.basis.weight.shape[2] == 2


def test_models_of_timm_and_ours_by_name():
    x = torch.randn(1, 3, 64, 64)
    peer = load_feature_model('resnet18')
    assert features_at(peer, x, 8).shape == (1, 128, 8, 8)
    assert last_features(peer, x).shape == (1, 512, 2, 2)
    ours = load_feature_model('dfformer_s18', 64)
    assert ours.backbone.img_size == (64, 64)
    assert not ours.training
    assert features_at(ours, x, 16).shape == (1, 320, 4, 4)


def test_what_cannot_be_loaded(tmp_path):
    with pytest.raises(ConfigError, match='nothing_of_timm'):
        load_feature_model('nothing_of_timm')
    with pytest.raises(ConfigError, match='no.py'):
        load_feature_model('no.py')
    weights = dict(load_feature_model(str(ROOT / CLS)).state_dict())
    del weights['stages.1.0.mlp.fc1.weight']
    path = tmp_path / 'part.pth'
    torch.save({f'backbone.{k}': v for k, v in weights.items()}, path)
    with pytest.raises(ConfigError, match='lacks 1 tensors.*stages.1.0.mlp'):
        load_feature_model(f'{ROOT / CLS}={path}')


@pytest.mark.parametrize('name', ['test_resnet', 'gfnet_xs'])
def test_files_of_timm_may_have_a_classifier(name, tmp_path):
    torch.manual_seed(0)
    path = tmp_path / 'classifier.pth'
    weights = timm.create_model(name, num_classes=10).state_dict()
    torch.save(weights, path)
    loaded = load_feature_model(f'{name}={path}').state_dict()
    assert loaded
    for key, value in loaded.items():
        assert torch.equal(value, weights[key])
    with pytest.raises(ConfigError, match='classifier.pth'):
        load_feature_model(f'test_convnext={path}')


def test_images_are_normalized(tmp_path):
    for i in range(5):
        folder = tmp_path / str(i)
        folder.mkdir()
        Image.new('RGB', (9, 7), (50 * i, 0, 255)).save(folder / 'a.png')
    images = read_images(str(tmp_path), 8, 2)
    # The first and the third.
    assert images.shape == (2, 3, 8, 8)
    reds = (images[:, 0] * 0.229 + 0.485) * 255
    torch.testing.assert_close(reds[0], torch.zeros(8, 8), atol=1e-3, rtol=0)
    torch.testing.assert_close(
        reds[1], torch.full((8, 8), 100.0), atol=1e-3, rtol=0
    )
    with pytest.raises(ConfigError, match='holds no'):
        read_images(str(tmp_path / 'none'), 8, 2)


@pytest.mark.parametrize(
    ('toolbox', 'conversion'),
    [
        ('mmpretrain', dict(to_rgb=True)),
        ('mmdet', dict(bgr_to_rgb=True)),
        ('mmseg', dict(bgr_to_rgb=False)),
    ],
)
def test_images_are_normalized_as_by_the_config(toolbox, conversion, tmp_path):
    Image.new('RGB', (8, 8), (100, 50, 20)).save(tmp_path / 'a.png')
    config = tmp_path / 'config.py'
    preprocessor = dict(conversion, mean=[90, 30, 20], std=[10, 5, 1])
    config.write_text(
        f'data_preprocessor = {preprocessor}\n'
        if toolbox == 'mmpretrain'
        else f'model = dict(data_preprocessor={preprocessor})\n'
    )
    found = preprocessor_of(f'{config}=a.pth')
    image = read_images(str(tmp_path), 8, 1, preprocessor=found)[0, :, 0, 0]
    # The mean and the deviation are in the order of the converted image.
    expected = [-7.0, 4.0, 80.0] if toolbox == 'mmseg' else [1.0, 4.0, 0.0]
    torch.testing.assert_close(
        image, torch.tensor(expected), atol=1e-4, rtol=0
    )
    plain = read_images(str(tmp_path), 8, 1, preprocessor=dict(to_rgb=True))
    torch.testing.assert_close(
        plain[0, :, 0, 0], torch.tensor([100.0, 50.0, 20.0])
    )
    assert preprocessor_of('resnet18') is None
