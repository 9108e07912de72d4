# Copyright (c) mmfft authors. All rights reserved.
"""Two-stage detectors, in operators of ONNX, compute what mmdet does."""

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from tiny_detectors import mask_rcnn

from mmfft.deploy.detectors import made_up
from mmfft.deploy.regions import (
    RoIExtractor,
    as_rois,
    masks_of_classes,
    propose,
    recognize,
    spread,
)
from mmfft.engine import build_model

BATCH, SIZE = 2, (90, 121)


def build(**changes):
    cfg = mask_rcnn()
    for part, more in changes.items():
        cfg.model.test_cfg[part].update(more)
    model = build_model(cfg)
    return model, made_up(model, (BATCH, 96, 128))


def levels(made, kind):
    return [value for name, value in made.items() if name.startswith(kind)]


@pytest.mark.parametrize(
    'test_cfg',
    [
        {},
        dict(nms_pre=7, max_per_img=300),
        dict(min_bbox_size=8),
        dict(min_bbox_size=-1),
        dict(nms=dict(type='nms', iou_threshold=0.2), nms_pre=500),
    ],
)
def test_proposals_are_those_of_mmdet(test_cfg):
    model, made = build(rpn=test_cfg)
    outputs = levels(made, 'cls_score'), levels(made, 'bbox_pred')
    expected = model.rpn_head.predict_by_feat(
        *outputs, batch_img_metas=[dict(img_shape=SIZE)] * BATCH
    )
    proposals = propose(model.rpn_head, *outputs, torch.tensor(SIZE))
    assert proposals.shape == (BATCH, model.test_cfg.rpn.max_per_img, 5)
    for ours, other in zip(proposals, expected):
        found = len(other.scores)
        torch.testing.assert_close(ours[:found, :4], other.bboxes)
        torch.testing.assert_close(ours[:found, 4], other.scores)
        assert not ours[found:, :4].any() and (ours[found:, 4] == -1).all()


@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('sampling_ratio', [0, 2])
def test_regions_are_those_of_mmdet(aligned, sampling_ratio):
    model, made = build()
    extractor = model.roi_head.bbox_roi_extractor
    for layer in extractor.roi_layers:
        layer.aligned, layer.sampling_ratio = aligned, sampling_ratio
    features = levels(made, 'feature')[:4]
    # Of each size, in pixels, so that each level has some.
    torch.manual_seed(0)
    start = torch.rand(50, 2) * 100
    sides = torch.tensor([10, 100, 150, 300, 600]).repeat(10)[:, None]
    end = start + sides * (0.8 + 0.4 * torch.rand(50, 2))
    image = torch.arange(50)[:, None] % BATCH
    rois = torch.cat([image.float(), start, end], 1)
    assert len(extractor.map_roi_levels(rois, 4).unique()) == 4
    ours = RoIExtractor(extractor)
    torch.testing.assert_close(ours(features, rois), extractor(features, rois))
    # A level may have none.
    torch.testing.assert_close(
        ours(features, rois[:1]), extractor(features, rois[:1])
    )


@pytest.mark.parametrize(
    'test_cfg, agnostic',
    [
        ({}, False),
        (dict(score_thr=0.5), False),
        (dict(max_per_img=3), True),
        (dict(nms=dict(type='nms', iou_threshold=0.1)), True),
    ],
)
def test_boxes_of_classes_are_those_of_mmdet(test_cfg, agnostic):
    model, made = build(rcnn=test_cfg)
    roi_head = model.roi_head
    head, cfg = roi_head.bbox_head, roi_head.test_cfg
    head.reg_class_agnostic = agnostic
    scores, deltas = made['box_scores'], made['box_deltas']
    if agnostic:
        deltas = deltas[..., :4]
    proposals = made['proposals']
    dets, labels = recognize(
        roi_head, proposals, scores, deltas, torch.tensor(SIZE)
    )
    assert dets.shape == (BATCH, cfg.max_per_img, 5)
    for i in range(BATCH):
        real = proposals[i, :, 4] != -1
        assert 0 < real.sum() < len(real)
        rois = torch.cat([real[real][:, None].float(), proposals[i, real]], 1)
        expected = head._predict_by_feat_single(
            rois[:, :5],
            scores[i, real],
            deltas[i, real],
            dict(img_shape=SIZE),
            rcnn_test_cfg=cfg,
        )
        found = len(expected.labels)
        assert found > 2
        np.testing.assert_array_equal(labels[i, :found], expected.labels)
        torch.testing.assert_close(dets[i, :found, :4], expected.bboxes)
        torch.testing.assert_close(dets[i, :found, 4], expected.scores)
        assert (labels[i, found:] == -1).all() and not dets[i, found:].any()


def test_rois_are_the_boxes_of_all_images():
    boxes = torch.rand(3, 4, 5)
    is_box = torch.tensor(
        [[True, True, False, False], [False] * 4, [True] * 4]
    )
    rois, place = as_rois(boxes[..., :4], is_box)
    assert place.tolist() == [0, 1, 4, 8, 9, 10, 11]
    assert rois[:, 0].tolist() == [0, 0, 1, 2, 2, 2, 2]
    torch.testing.assert_close(rois[1, 1:], boxes[0, 1, :4])
    values = torch.rand(7, 2, 3)
    rows = spread(values, place, boxes)
    assert rows.shape == (3, 4, 2, 3)
    torch.testing.assert_close(rows.flatten(0, 1)[place], values)
    assert not rows[0, 2:].any()


def test_masks_are_those_of_the_classes():
    model, _ = build()
    head = model.roi_head.mask_head
    torch.manual_seed(0)
    logits, labels = torch.randn(5, 3, 28, 28), torch.tensor([2, 0, 1, 1, 2])
    boxes = torch.tensor([[0.0, 0, 28, 28]]).repeat(5, 1)
    masks = masks_of_classes(logits, labels)
    meta = dict(scale_factor=(1, 1), ori_shape=(28, 28))
    (expected,) = head.predict_by_feat(
        (logits,),
        [InstanceData(bboxes=boxes, labels=labels)],
        [meta],
        model.roi_head.test_cfg,
    )
    # Where a cell is a pixel, nothing is between them.
    torch.testing.assert_close(masks >= 0.5, expected.masks)
    torch.testing.assert_close(
        masks_of_classes(logits[:, :1], labels), logits[:, 0].sigmoid()
    )
