# Copyright (c) mmfft authors. All rights reserved.
"""What a file tells of its classes and of what comes before the network."""

import pytest
import torch
from config_files import load
from mmengine.registry import init_default_scope
from random_weights import save_random_weights

from mmfft.deploy import load_network
from mmfft.deploy.preparation import normalization, resizing

CLS = 'configs/demo/cdfformer-nano_1xb32-6e_digit-crops.py'
SEG = 'configs/demo/cdfformer-nano_fpn_1xb2-2k_digit-scenes-192x256.py'
CV2 = dict(backend='cv2', interpolation='bilinear')


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """Checkpoints of random weights by config."""
    return {
        config: save_random_weights(
            load(config), tmp_path_factory.mktemp('weights')
        )
        for config in (CLS, SEG)
    }


def with_steps(config, *steps):
    cfg = load(config)
    pipeline = cfg.test_dataloader.dataset.pipeline
    pipeline[1:1] = steps
    return cfg


@pytest.mark.parametrize(
    'config, expected',
    [
        (
            'configs/cdfformer/cdfformer-s18_8xb128_in1k.py',
            [
                dict(
                    step='edge',
                    edge='short',
                    length=224,
                    backend='pillow',
                    interpolation='bicubic',
                ),
                dict(step='center_crop', size=[224, 224]),
            ],
        ),
        (
            'configs/cdfformer/retinanet_cdfformer-s18_fpn_1x_coco.py',
            [dict(step='fit', long=1333, short=800, **CV2)],
        ),
        (
            'configs/cdfformer/cdfformer-s18_upernet_8xb2-160k_ade20k-'
            '512x512.py',
            [dict(step='fit', long=2048, short=512, **CV2)],
        ),
        (
            'configs/gfnet/gfnet-h-ti_fpn_8xb4-40k_ade20k-512x512.py',
            [
                dict(step='fit', long=2048, short=512, **CV2),
                dict(step='multiple', divisor=32, **CV2),
            ],
        ),
        (SEG, []),
    ],
)
def test_steps_of_our_configs(config, expected):
    assert resizing(load(config)) == expected


@pytest.mark.parametrize(
    'step, reason',
    [
        (
            dict(type='Resize', scale_factor=0.5),
            'Resize of the test pipeline cannot be described, because it has '
            'no scale',
        ),
        (
            dict(type='Resize', scale=(8, 8), interpolation='area'),
            "it resizes with 'area' of 'cv2'",
        ),
        (dict(type='CenterCrop', crop_size=8, auto_pad=True), 'auto_pad=True'),
        (dict(type='Pad', size=(8, 8)), 'step Pad of'),
        (
            dict(type='LoadImageFromFile', color_type='grayscale'),
            "has color_type='grayscale'",
        ),
    ],
)
def test_a_step_that_cannot_be_described_is_named(step, reason, weights):
    network = load_network(with_steps(CLS, step), weights[CLS])
    assert reason in network.metadata['unknown_steps']
    assert 'resize' not in network.metadata


def test_a_classifier_tells_all_that_it_needs(weights):
    cfg = with_steps(CLS, dict(type='Resize', scale=(80, 48)))
    cfg.data_preprocessor.update(pad_size_divisor=16, pad_value=3)
    mean = list(cfg.data_preprocessor.mean)
    std = list(cfg.data_preprocessor.std)
    network = load_network(cfg, weights[CLS])
    assert network.metadata == dict(
        task='classification',
        classes=tuple('0123456789'),
        channel_order='RGB',
        mean=mean,
        std=std,
        padding=dict(divisor=16, value=3),
        resize=[dict(step='resize', size=[48, 80], **CV2)],
    )


@pytest.mark.parametrize(
    'config',
    [
        CLS,
        # Its data set holds RGB, which nothing swaps.
        'configs/cdfformer/cdfformer-s18_8xb64_cifar10.py',
        'configs/cdfformer/cdfformer-s18_8xb64_flowers102.py',
    ],
)
def test_order_of_channels(config):
    cfg = load(config)
    init_default_scope(cfg.default_scope)
    assert normalization(cfg)['channel_order'] == 'RGB'
    if config == CLS:
        cfg.data_preprocessor.to_rgb = False
        assert normalization(cfg)['channel_order'] == 'BGR'


@pytest.mark.parametrize(
    'test_cfg, padding',
    [
        (None, None),
        (dict(size_divisor=32), dict(divisor=32, value=0)),
        (dict(size=(192, 320)), dict(size=[192, 320], value=0)),
    ],
)
def test_a_segmentor_pads_as_in_its_test(test_cfg, padding, weights):
    cfg = load(SEG)
    cfg.model.data_preprocessor.test_cfg = test_cfg
    metadata = load_network(cfg, weights[SEG]).metadata
    assert metadata.get('padding') == padding
    assert metadata['task'] == 'segmentation'
    assert metadata['align_corners'] is False
    assert len(metadata['palette']) == len(metadata['classes']) == 11
    assert 'threshold' not in metadata


def test_windows_and_other_preprocessors_are_named(weights):
    cfg = load(SEG)
    cfg.model.test_cfg = dict(
        mode='slide', crop_size=(64, 64), stride=(32, 32)
    )
    metadata = load_network(cfg, weights[SEG]).metadata
    assert "mode 'slide'" in metadata['unknown_steps']
    cfg = load(SEG)
    cfg.model.data_preprocessor = dict(type='ImgDataPreprocessor')
    metadata = load_network(cfg, weights[SEG]).metadata
    assert 'data_preprocessor ImgDataP' in metadata['unknown_steps']


def test_other_heads_than_of_single_labels_are_features(weights):
    cfg = load(CLS)
    cfg.model.head = dict(
        type='MultiLabelLinearClsHead', num_classes=10, in_channels=128
    )
    content = torch.load(weights[CLS])['state_dict']
    content = {k: v for k, v in content.items() if 'head' not in k}
    content['head.fc.weight'] = torch.zeros(10, 128)
    content['head.fc.bias'] = torch.zeros(10)
    other = weights[CLS].replace('random', 'other')
    torch.save(content, other)
    assert load_network(cfg, other).metadata['task'] == 'features'


def test_the_checkpoint_names_the_classes(weights):
    content = torch.load(weights[CLS])
    names = [f'class {i}' for i in range(10)]
    content['meta'] = dict(dataset_meta=dict(classes=names))
    named = weights[CLS].replace('random', 'named')
    torch.save(content, named)
    metadata = load_network(load(CLS), named).metadata
    assert metadata['classes'] == tuple(names)
