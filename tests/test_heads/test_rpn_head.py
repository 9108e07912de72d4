# Copyright (c) mmfft authors. All rights reserved.
"""Proposals do not come from the padding of a batch."""

import pytest
import torch
import torch.nn.functional as F
from mmdet.models.dense_heads import RPNHead as MmdetRPNHead
from mmengine.config import ConfigDict
from mmengine.registry import MODELS, init_default_scope

STRIDES = (8, 16)


def build(kind, use_sigmoid=True):
    init_default_scope('mmdet')
    return MODELS.build(
        dict(
            type=kind,
            in_channels=4,
            feat_channels=4,
            anchor_generator=dict(
                type='AnchorGenerator',
                ratios=[0.5, 1.0],
                scales=[4],
                strides=STRIDES,
            ),
            bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
            loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=use_sigmoid),
            loss_bbox=dict(type='L1Loss'),
            test_cfg=ConfigDict(
                nms_pre=12,
                max_per_img=10,
                nms=dict(type='nms', iou_threshold=0.7),
                min_bbox_size=0,
            ),
        )
    )


def outputs(size, channels, seed):
    """Scores and boxes of an image of a size."""
    generator = torch.Generator().manual_seed(seed)
    rows, columns = size
    return [
        [
            torch.randn(
                (1, count, -(-rows // stride), -(-columns // stride)),
                generator=generator,
            )
            for stride in STRIDES
        ]
        for count in (2 * channels, 2 * 4)
    ]


def padded(levels, to, value):
    grids = [to // stride for stride in STRIDES]
    return [
        F.pad(
            level,
            (0, grid - level.shape[3], 0, grid - level.shape[2]),
            value=value,
        )
        for level, grid in zip(levels, grids)
    ]


@pytest.mark.parametrize('use_sigmoid', (True, False))
def test_proposals_do_not_depend_on_the_padding(use_sigmoid):
    sizes = [(61, 90), (128, 33)]
    channels = 1 if use_sigmoid else 2
    images = [outputs(size, channels, i) for i, size in enumerate(sizes)]
    metas = [dict(img_shape=size) for size in sizes]
    scores, boxes = (
        [
            torch.cat(level)
            for level in zip(*(padded(image[k], 128, 9.0) for image in images))
        ]
        for k in range(2)
    )
    if not use_sigmoid:
        # What is beyond the images is an object for certain.
        for level in scores:
            level[:, 1::2][level[:, 1::2] == 9] = -9
    before = [level.clone() for level in scores]
    head = build('mmfft.RPNHead', use_sigmoid)
    found = head.predict_by_feat(scores, boxes, batch_img_metas=metas)
    assert all(map(torch.equal, scores, before)), 'the loss needs them'
    theirs = build('mmdet.RPNHead', use_sigmoid)
    assert type(theirs) is MmdetRPNHead
    spoilt = theirs.predict_by_feat(scores, boxes, batch_img_metas=metas)
    for i, (image, meta) in enumerate(zip(images, metas)):
        (alone,) = theirs.predict_by_feat(*image, batch_img_metas=[meta])
        assert len(alone) == 10
        assert torch.equal(found[i].bboxes, alone.bboxes)
        assert torch.equal(found[i].scores, alone.scores)
        assert len(spoilt[i]) < 10 or not torch.equal(
            spoilt[i].bboxes, alone.bboxes
        )
