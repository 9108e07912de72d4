# Copyright (c) mmfft authors. All rights reserved.
"""The filter of mmpretrain's HorNet-GF is ours, in another layout."""

import pytest
import torch
from mmpretrain.models.backbones.hornet import GlobalLocalFilter
from torch import nn

from mmfft.layers import GlobalFilter2d
from mmfft.ops import half_spectrum_shape

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


def assert_same(layer, ours, grid):
    """That outputs and all gradients are the same."""
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


@pytest.mark.parametrize('grid', GRIDS)
def test_same_numbers_on_the_stored_grid(grid):
    assert_same(theirs(grid), GlobalFilter2d(CHANNELS, grid), grid)


@pytest.mark.parametrize('grid', [(10, 13), (21, 16), (1, 5)])
def test_same_numbers_on_another_grid(grid):
    stored = (14, 14)
    ours = GlobalFilter2d(CHANNELS, stored, filter_resize='bilinear')
    assert_same(theirs(stored), ours, grid)
    # The default is another one.
    bicubic = GlobalFilter2d(CHANNELS, stored)
    bicubic.load_state_dict(ours.state_dict())
    x = torch.randn(1, CHANNELS, *grid)
    assert (bicubic(x) - ours(x)).abs().max() > 0.1
