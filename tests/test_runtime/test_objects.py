# Copyright (c) mmfft authors. All rights reserved.
import numpy as np
import pytest
import torch
from mmdet.models.roi_heads.mask_heads.fcn_mask_head import _do_paste_mask

from mmfft.runtime.objects import paste_masks

SIZE = (61, 83)


@pytest.mark.parametrize('threshold', [0.5, 0.2])
@pytest.mark.parametrize('side', [28, 14])
def test_masks_are_pasted_as_mmdet_does(side, threshold):
    rng = np.random.default_rng(0)
    masks = rng.random((40, side, side), dtype=np.float32)
    corners = rng.uniform(-5, 90, (40, 2, 2)).astype(np.float32)
    boxes = np.concatenate([corners.min(1), corners.max(1)], 1)
    expected, _ = _do_paste_mask(
        torch.from_numpy(masks)[:, None],
        torch.from_numpy(boxes),
        *SIZE,
        skip_empty=False,
    )
    pasted = paste_masks(masks, boxes, SIZE, threshold)
    assert pasted.dtype == bool and pasted.shape == (40, *SIZE)
    close = np.abs(expected.numpy() - threshold) < 1e-4
    assert close.mean() < 0.001
    assert (pasted == (expected.numpy() >= threshold))[~close].all()


@pytest.mark.parametrize(
    'box',
    [
        (10, 10, 10, 30),
        (10, 10, 10, 10),
        (-50, -50, -20, -20),
        (200, 10, 220, 20),
    ],
)
def test_boxes_without_a_place(box):
    mask = np.ones((1, 28, 28), np.float32)
    boxes = np.array([box], np.float32)
    assert paste_masks(mask, boxes, SIZE, 0.5).sum() < 100


def test_no_objects():
    masks = paste_masks(np.zeros((0, 28, 28)), np.zeros((0, 4)), SIZE, 0.5)
    assert masks.shape == (0, *SIZE)
