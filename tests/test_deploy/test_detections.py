# Copyright (c) mmfft authors. All rights reserved.
"""Objects of a RetinaNet, in operators of ONNX, are those of mmdet."""

import math

import numpy as np
import pytest
import torch
from config_files import load
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope

from mmfft.deploy.detections import (
    detect,
    largest_difference,
    require_known_dense_head,
)
from mmfft.errors import ConfigError

RETINA = 'configs/cdfformer/retinanet_cdfformer-s18_fpn_1x_coco.py'
CODER = 'DeltaXYWHBBoxCoder'
SIDES = [(12, 16), (6, 8), (3, 4), (2, 2), (1, 1)]


def build_head(test_cfg={}, **changes):
    cfg = load(RETINA).model
    init_default_scope('mmdet')
    settings = dict(cfg.bbox_head, num_classes=3, in_channels=8)
    settings.update(feat_channels=8, stacked_convs=0, **changes)
    test_cfg = ConfigDict({**cfg.test_cfg, **test_cfg})
    head = MODELS.build(
        dict(settings, train_cfg=cfg.train_cfg, test_cfg=test_cfg)
    )
    return head.eval()


def outputs(batch=2):
    """Levels of a head that is sure of some objects and not of others."""
    torch.manual_seed(0)
    scores = [2 * torch.randn(batch, 27, *side) - 4 for side in SIDES]
    return scores, [torch.randn(batch, 36, *side) / 3 for side in SIDES]


# The image ends within the last of 12 x 16 cells of 8 pixels.
@pytest.mark.parametrize(
    'test_cfg',
    [
        {},
        dict(nms_pre=37),
        dict(max_per_img=7, score_thr=0.3),
        dict(nms=dict(type='nms', iou_threshold=0.1)),
        dict(min_bbox_size=-1),
        dict(score_thr=0.9999),
    ],
)
def test_objects_are_those_of_mmdet(test_cfg):
    head = build_head(test_cfg)
    scores, deltas = outputs()
    size = (90, 121)
    expected = head.predict_by_feat(
        scores, deltas, batch_img_metas=[dict(img_shape=size)] * 2
    )
    dets, labels = detect(head, scores, deltas, torch.tensor(size))
    count = head.test_cfg.max_per_img
    assert dets.shape == (2, count, 5) and labels.shape == (2, count)
    for det, label, other in zip(dets, labels, expected):
        found = len(other.labels)
        assert (found > 5) == (head.test_cfg.score_thr < 0.9)
        np.testing.assert_array_equal(label[:found], other.labels)
        torch.testing.assert_close(det[:found, :4], other.bboxes)
        torch.testing.assert_close(det[:found, 4], other.scores)
        assert not det[found:].any() and (label[found:] == -1).all()


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(type='ATSSHead'), 'ATSSHead is not a RetinaHead'),
        (
            dict(test_cfg=dict(nms=dict(type='soft_nms', iou_threshold=0.5))),
            "test_cfg has nms={'type': 'soft_nms'",
        ),
        (dict(test_cfg=dict(min_bbox_size=3)), 'min_bbox_size=3'),
        (dict(test_cfg=dict(nms_pre=-1)), 'nms_pre=-1'),
        (
            dict(
                bbox_coder=dict(type='DeltaXYWHBBoxCoder', clip_border=False)
            ),
            'clip_border=False',
        ),
        (
            dict(loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False)),
            'use_sigmoid=False',
        ),
    ],
)
def test_heads_of_other_objects_are_refused(changes, message):
    if changes.get('type') == 'ATSSHead':
        coder = dict(type=CODER)
        generator = dict(
            type='AnchorGenerator', ratios=[1.0], scales=[8], strides=[8]
        )
        changes.update(bbox_coder=coder, anchor_generator=generator)
    head = build_head(**changes)
    with pytest.raises(ConfigError, match=message):
        require_known_dense_head(head)


def test_differences_of_objects():
    dets = np.array([[[0, 0, 8, 10, 0.9], [4, 4, 8, 8, 0.5], [0] * 5]])
    labels = np.array([[2, 1, -1]])
    # Places do not matter, classes, boxes and scores do.
    swapped = dets[:, [1, 0, 2]], labels[:, [1, 0, 2]]
    assert largest_difference(swapped, (dets, labels)) == 0
    assert largest_difference((dets, labels[:, ::-1]), (dets, labels)) > 0.4
    one = dets[:, :1], labels[:, :1]
    assert largest_difference(one, (dets, labels)) == math.inf
    other = dets + [0, 0, 1, 0, 0]
    assert largest_difference((other, labels), (dets, labels)) == (
        pytest.approx(0.1)
    )
    other = dets - [0, 0, 0, 0, 0.2]
    assert largest_difference((other, labels), (dets, labels)) == (
        pytest.approx(0.2)
    )


def test_some_may_be_missing_or_others():
    rng = np.random.default_rng(0)
    dets = rng.random((1, 100, 5))
    labels = np.zeros((1, 100), int)
    fewer = dets[:, 1:], labels[:, 1:]
    assert largest_difference(fewer, (dets, labels), ignored=0.01) == 0
    fewest = dets[:, 2:], labels[:, 2:]
    assert largest_difference(fewest, (dets, labels), 0.01) == math.inf
    other = dets.copy()
    other[0, 3, 4] += 0.5
    assert largest_difference((other, labels), (dets, labels), 0.01) == 0
    other[0, 4, 4] += 0.5
    assert largest_difference((other, labels), (dets, labels), 0.01) > 0.1
