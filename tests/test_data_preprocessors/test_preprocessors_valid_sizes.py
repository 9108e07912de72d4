# Copyright (c) mmfft authors. All rights reserved.
"""The sizes of images, from the toolboxes' batches to the backbone."""

import gc
import logging
from functools import partial

import numpy as np
import pytest
import torch
from config_files import load
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.logging import MessageHub
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample
from tiny_detectors import mask_rcnn

from mmfft import backbones
from mmfft.openmmlab import valid_sizes

SIZES = [(77, 103), (150, 60), (64, 64)]
SEGMENTOR = 'configs/cdfformer/cdfformer-s18_fpn_8xb4-40k_ade20k-512x512.py'
SMALL = dict(
    arch=dict(embed_dims=[8, 8, 8, 8], depths=[1, 1, 1, 1]),
    img_size=64,
    init_cfg=None,
)


def detector(**backbone):
    cfg = mask_rcnn()
    cfg.model.backbone.update(init_cfg=None, **backbone)
    cfg.model.data_preprocessor.type = 'mmfft.DetDataPreprocessor'
    return build(cfg)


def segmentor(**test_cfg):
    cfg = load(SEGMENTOR)
    model = cfg.model
    model.backbone.update(SMALL)
    model.neck.update(in_channels=[8] * 4, out_channels=8)
    model.decode_head.update(
        in_channels=[8] * 4, channels=8, num_classes=3, dropout_ratio=0
    )
    group_norm = dict(type='GN', num_groups=2)
    model.neck.norm_cfg = model.decode_head.norm_cfg = group_norm
    model.data_preprocessor.update(
        type='mmfft.SegDataPreProcessor',
        size=None,
        size_divisor=32,
        test_cfg=dict(size_divisor=32),
    )
    model.test_cfg.update(test_cfg)
    return build(cfg)


def build(cfg):
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    return model.eval()


def picture(size, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, *size), generator=generator).byte()


def detection_batch(sizes, seeds):
    samples = []
    for rows, columns in sizes:
        size = (rows, columns)
        sample = DetDataSample(
            metainfo=dict(
                img_shape=size, ori_shape=size, scale_factor=(1.0, 1.0)
            )
        )
        masks = np.zeros((1, *size), np.uint8)
        masks[:, 5:40, 5:30] = 1
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor([[5.0, 5.0, 30.0, 40.0]]),
            labels=torch.tensor([1]),
            masks=BitmapMasks(masks, *size),
        )
        samples.append(sample)
    return dict(
        inputs=[picture(*pair) for pair in zip(sizes, seeds)],
        data_samples=samples,
    )


def segmentation_batch(sizes, seeds):
    samples = []
    for size in sizes:
        sample = SegDataSample(metainfo=dict(img_shape=size, ori_shape=size))
        labels = torch.zeros(1, *size, dtype=torch.long)
        sample.gt_sem_seg = PixelData(data=labels)
        samples.append(sample)
    return dict(
        inputs=[picture(*pair) for pair in zip(sizes, seeds)],
        data_samples=samples,
    )


MODELS_AND_BATCHES = {
    'detector': (detector, detection_batch),
    'segmentor': (segmentor, segmentation_batch),
}
both = pytest.mark.parametrize('kind', MODELS_AND_BATCHES)


def features_of(model, run):
    seen = []
    hook = model.backbone.register_forward_hook(
        lambda backbone, args, outs: seen.append(outs)
    )
    run()
    hook.remove()
    (outs,) = seen
    return outs


@both
def test_training_computes_each_image_at_its_own_size(kind):
    make, batch = MODELS_AND_BATCHES[kind]
    model = make().train()

    def features(sizes, seeds):
        data = model.data_preprocessor(batch(sizes, seeds), True)
        return features_of(model, lambda: model(**data, mode='loss'))

    together = features(SIZES, [0, 1, 2])
    alone = features(SIZES[1:2], [1])
    for ours, theirs in zip(together, alone):
        rows, columns = (
            min(a, b) for a, b in zip(ours.shape[2:], theirs.shape[2:])
        )
        torch.testing.assert_close(
            ours[1, :, :rows, :columns],
            theirs[0, :, :rows, :columns],
            rtol=1e-5,
            atol=1e-5,
        )


@torch.no_grad()
def test_a_detector_is_tested_so():
    model = detector()
    together = features_of(
        model, lambda: model.test_step(detection_batch(SIZES, [0, 1, 2]))
    )
    for i, size in enumerate(SIZES):
        batch = detection_batch([size], [i])
        alone = features_of(model, partial(model.test_step, batch))
        rows, columns = model.backbone.grids(size)[0]
        torch.testing.assert_close(
            together[0][i, :, :rows, :columns],
            alone[0][0, :, :rows, :columns],
            rtol=1e-5,
            atol=1e-5,
        )
    model.data_preprocessor = MODELS.build(
        dict(type='DetDataPreprocessor', pad_size_divisor=32)
    )
    padded = features_of(
        model, lambda: model.test_step(detection_batch(SIZES, [0, 1, 2]))
    )
    assert (padded[3][1] - together[3][1]).abs().max() > 1e-3


@torch.no_grad()
def test_a_segmentor_is_tested_so():
    model = segmentor()
    images = [segmentation_batch([(50, 70)], [0])]
    padded = features_of(model, lambda: model.test_step(images[0]))
    inputs = model.data_preprocessor(segmentation_batch([(50, 70)], [0]))
    assert inputs['inputs'].shape[2:] == (64, 96)
    alone = model.backbone(inputs['inputs'][:, :, :50, :70].clone())
    for ours, theirs in zip(padded, alone):
        rows, columns = theirs.shape[2:]
        torch.testing.assert_close(ours[:, :, :rows, :columns], theirs)


def test_anchors_in_the_padding_are_trained_as_background():
    model = detector()
    data = model.data_preprocessor(detection_batch(SIZES, [0, 1, 2]), True)
    whole = tuple(data['inputs'].shape[2:])
    assert {sample.pad_shape for sample in data['data_samples']} == {whole}
    assert whole == (160, 128)
    tested = model.data_preprocessor(detection_batch(SIZES, [0, 1, 2]))
    assert tested['data_samples'][2].pad_shape == (64, 64)


def test_batches_that_are_resized():
    preprocessor = MODELS.build(
        dict(
            type='mmfft.DetDataPreprocessor',
            pad_size_divisor=32,
            batch_augments=[
                dict(
                    type='mmdet.BatchSyncRandomResize',
                    random_size_range=(96, 97),
                    size_divisor=32,
                    interval=1,
                )
            ],
        )
    )
    MessageHub.get_current_instance().update_info('iter', 0)
    augment = preprocessor.batch_augments[0]
    augment._interval, augment._input_size = 1000, (80, 64)
    data = preprocessor(detection_batch(SIZES, [0, 1, 2]), True)
    assert data['inputs'].shape[2:] == (80, 64)
    # Of 160x128.
    assert data['inputs'].valid_sizes == [(38, 51), (75, 30), (32, 32)]


def test_a_batch_without_padding_has_no_sizes():
    batch = torch.zeros(2, 3, 64, 64)
    valid_sizes.give_valid_sizes(batch, [(64, 64)] * 2)
    assert valid_sizes.read_valid_sizes(batch) is None


@pytest.fixture
def logged(monkeypatch):
    monkeypatch.setattr(valid_sizes, '_warned', False)
    records = []
    monkeypatch.setattr(
        valid_sizes,
        'print_log',
        lambda message, logger, level: records.append((level, message)),
    )
    return records


@torch.no_grad()
def test_windows_of_a_segmentor_warn_once(logged):
    model = segmentor(mode='slide', crop_size=(32, 32), stride=(32, 32))
    for _ in range(2):
        model.test_step(segmentation_batch([(50, 70)], [0]))
    gc.collect()
    ((level, message),) = logged
    assert level == logging.WARNING
    assert "test_cfg.mode='slide'" in message


@torch.no_grad()
def test_no_warning_where_the_sizes_are_read(logged):
    model = detector()
    model.test_step(detection_batch(SIZES, [0, 1, 2]))
    gc.collect()
    assert not logged


def test_sizes_that_are_given_come_first():
    backbone = backbones.DFFormer(**SMALL).eval()
    batch = torch.randn(1, 3, 64, 64)
    valid_sizes.give_valid_sizes(batch, [(32, 32)])
    whole = backbone(batch, valid_sizes=[(64, 64)])
    torch.testing.assert_close(whole, backbone(batch.clone()))
