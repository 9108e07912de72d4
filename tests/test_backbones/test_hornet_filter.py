# Copyright (c) mmfft authors. All rights reserved.
"""The filter of mmpretrain's HorNet-GF is ours, in another layout."""

import pytest
import torch
import torch.nn.functional as F
from mmpretrain.models.backbones.hornet import GlobalLocalFilter
from torch import nn

from mmfft.layers import GlobalFilter2d
from mmfft.ops import half_spectrum_shape, resize_filter, spectral_filter

CHANNELS = 5
GRIDS = [(14, 14), (7, 7), (12, 9), (5, 16), (1, 6), (8, 1)]


def theirs(grid):
    """Their layer for a grid, of which only the filter does anything."""
    torch.manual_seed(0)
    layer = GlobalLocalFilter(2 * CHANNELS, *half_spectrum_shape(grid))
    layer.pre_norm = layer.dw = layer.post_norm = nn.Identity()
    nn.init.normal_(layer.complex_weight)
    return layer


def filtered(layer, x):
    """What their layer makes of the second half of its channels."""
    # It interleaves the two halves.
    return layer(torch.cat([torch.zeros_like(x), x], 1))[:, 1::2]


def weight_like_ours(weight):
    """``(C, H, W // 2 + 1, 2)`` as ``(H, W // 2 + 1, C, 2)``."""
    return weight.permute(1, 2, 0, 3)


@pytest.mark.parametrize('grid', GRIDS)
def test_same_numbers_on_the_stored_grid(grid):
    layer = theirs(grid)
    ours = GlobalFilter2d(CHANNELS, grid)
    with torch.no_grad():
        ours.filter.weight.copy_(weight_like_ours(layer.complex_weight))
    x = torch.randn(2, CHANNELS, *grid)
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    expected, found = filtered(layer, inputs[0]), ours(inputs[1])
    torch.testing.assert_close(found, expected)
    grad = torch.randn_like(x)
    expected.backward(grad)
    found.backward(grad)
    torch.testing.assert_close(inputs[1].grad, inputs[0].grad)
    torch.testing.assert_close(
        ours.filter.weight.grad,
        weight_like_ours(layer.complex_weight.grad),
        rtol=1e-4,
        atol=1e-4,
    )


@pytest.mark.parametrize('grid', [(10, 13), (21, 16)])
def test_only_the_resizing_differs_on_another_grid(grid):
    """Theirs is bilinear, ours bicubic; both align the corners."""
    stored = (14, 14)
    layer = theirs(stored)
    x = torch.randn(2, CHANNELS, *grid)
    planes = layer.complex_weight.permute(3, 0, 1, 2)
    planes, cubic = (
        F.interpolate(
            planes, half_spectrum_shape(grid), mode=mode, align_corners=True
        ).permute(2, 3, 1, 0)
        for mode in ('bilinear', 'bicubic')
    )
    expected = filtered(layer, x)
    found = spectral_filter(x.permute(0, 2, 3, 1), planes)
    torch.testing.assert_close(found.permute(0, 3, 1, 2), expected)
    ours = resize_filter(weight_like_ours(layer.complex_weight), stored, grid)
    torch.testing.assert_close(ours, cubic, rtol=1e-4, atol=1e-4)
    assert (ours - planes).abs().max() > 0.1
