# Copyright (c) mmfft authors. All rights reserved.
"""Inferencers of the toolboxes with checkpoints that do not fit."""

import pytest
import torch
from config_files import load
from mmengine.registry import init_default_scope
from random_weights import save_random_weights

from mmfft.errors import ConfigError

DEMO = 'configs/demo/'
CLS = DEMO + 'cdfformer-nano_1xb32-6e_digit-crops.py'
DET = DEMO + 'mask-rcnn_cdfformer-nano_fpn_1xb4-3e_digit-scenes.py'
SEG = DEMO + 'cdfformer-nano_fpn_1xb2-2k_digit-scenes-192x256.py'


@pytest.fixture
def classifier(tmp_path):
    return save_random_weights(load(CLS), tmp_path)


def four_classes():
    cfg = load(CLS)
    cfg.model.head.num_classes = 4
    init_default_scope('mmpretrain')
    return cfg


def test_detectors_and_segmentors(classifier):
    from mmdet.apis import DetInferencer, init_detector
    from mmseg.apis import MMSegInferencer
    from mmseg.apis import init_model as init_segmentor

    for make, config, parts in [
        (init_detector, DET, 'neck, rpn_head, roi_head'),
        (DetInferencer, DET, 'neck, rpn_head, roi_head'),
        (init_segmentor, SEG, 'neck, decode_head'),
        (MMSegInferencer, SEG, 'neck, decode_head'),
    ]:
        with pytest.raises(ConfigError, match=f'lacks .* all of {parts};'):
            make(load(config), classifier, device='cpu')


def test_other_models_are_left_as_they_are(tmp_path, monkeypatch):
    from mmdet.apis import inference

    model = torch.nn.Linear(1, 1)
    torch.save(dict(bias=torch.ones(1)), tmp_path / 'a.pth')
    inference.load_checkpoint(model, str(tmp_path / 'a.pth'))
    assert model.bias == 1


def test_classifiers(classifier):
    from mmpretrain import FeatureExtractor, ImageClassificationInferencer

    cfg = four_classes()
    reason = 'model.head.num_classes is 4, 10 in the file'
    with pytest.raises(ConfigError, match=reason):
        ImageClassificationInferencer(cfg, classifier, device='cpu')
    # It makes no use of the head.
    FeatureExtractor(cfg, classifier, device='cpu')


def test_get_model_is_free_for_fine_tuning(classifier):
    from mmpretrain import ImageClassificationInferencer, get_model

    model = get_model(load(CLS), classifier, head=dict(num_classes=4))
    init_default_scope('mmpretrain')
    with pytest.raises(ConfigError, match='num_classes is 4, 10 in the file'):
        ImageClassificationInferencer(model)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    model.train()
    model(torch.rand(2, 3, 64, 64)).sum().backward()
    optimizer.step()
    ImageClassificationInferencer(model)
