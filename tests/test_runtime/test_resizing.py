# Copyright (c) mmfft authors. All rights reserved.
import mmcv
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mmfft.runtime.resizing import resize_image, resize_map

SIZES = [
    ((50, 70), (33, 91)),
    ((48, 64), (24, 32)),
    ((48, 64), (96, 128)),
    ((375, 500), (224, 299)),
    ((427, 640), (200, 133)),
    ((64, 64), (21, 40)),
    ((7, 9), (100, 3)),
    ((1, 1), (5, 4)),
    ((40, 30), (40, 30)),
]


@pytest.mark.parametrize('old, new', SIZES)
@pytest.mark.parametrize(
    'how',
    [('cv2', 'bilinear'), ('pillow', 'bilinear'), ('pillow', 'bicubic')],
)
def test_images_are_those_of_mmcv(how, old, new):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (*old, 3), dtype=np.uint8)
    backend, interpolation = how
    expected = mmcv.imresize(
        image, new[::-1], backend=backend, interpolation=interpolation
    )
    np.testing.assert_array_equal(
        resize_image(image, new, backend, interpolation), expected
    )


@pytest.mark.parametrize('align_corners', [False, True])
@pytest.mark.parametrize('old, new', SIZES)
def test_maps_are_those_of_pytorch(old, new, align_corners):
    values = torch.randn(2, *old, generator=torch.manual_seed(0))
    (expected,) = F.interpolate(
        values[None], new, mode='bilinear', align_corners=align_corners
    )
    ours = resize_map(values.numpy(), new, align_corners)
    assert ours.dtype == np.float32
    # PyTorch computes the positions in float32.
    np.testing.assert_allclose(ours, expected, rtol=0, atol=5e-4)
