# Copyright (c) mmfft authors. All rights reserved.
"""What PyTorch's counter finds of the registered operators, by hand.

It takes a multiplication with an addition for two FLOPs.
"""

from math import log2

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mmfft.layers import AFNO2D
from mmfft.models import CDFFormer, DFFormer, GFFormer
from mmfft.ops import conv2d_to_channels_last

BATCH, SIZE, DIMS, DEPTHS = 2, (40, 60), (8, 16, 24, 32), (1, 2, 1, 1)
GRIDS = (10, 15), (5, 8), (3, 4), (2, 2)  # of the stages, for that size


def transform(grid, channels):
    points = grid[0] * grid[1]
    return BATCH * channels * 2.5 * points * log2(points)


def entries(grid, channels):
    return BATCH * channels * grid[0] * (grid[1] // 2 + 1)


def count(step):
    with FlopCounterMode(display=False) as counter:
        step()
    counts = counter.get_flop_counts()['Global']
    return {str(target): flops for target, flops in counts.items()}


@pytest.mark.parametrize(
    'family, num_filters, operator',
    [
        (DFFormer, 4, 'dynamic_spectral_filter'),
        (DFFormer, 3, 'dynamic_spectral_filter'),
        (CDFFormer, 4, 'dynamic_spectral_filter'),
        (GFFormer, 0, 'spectral_filter'),
    ],
)
def test_filters_of_a_backbone(family, num_filters, operator):
    options = dict(num_filters=num_filters) if num_filters else {}
    arch = dict(embed_dims=DIMS, depths=DEPTHS)
    model = family(arch, img_size=SIZE, **options)
    x = torch.randn(BATCH, 3, *SIZE)
    found = count(lambda: sum(out.sum() for out in model(x)).backward())
    forward = backward = 0
    for grid, dim, depth, mixer in zip(
        GRIDS, DIMS, DEPTHS, model.token_mixers
    ):
        if mixer == 'SepConv':
            continue
        there, size = transform(grid, 2 * dim), entries(grid, 2 * dim)
        forward += depth * (2 * there + 2 * (4 + 2 * num_filters) * size)
        backward += depth * (3 * there + 2 * (8 + 6 * num_filters) * size)
    calls = sum(DEPTHS)
    assert found[f'mmfft.{operator}'] == pytest.approx(forward, abs=calls)
    assert found[f'mmfft.{operator}_backward'] == pytest.approx(
        backward, abs=calls
    )


def test_transforms_of_afno():
    layer = AFNO2D(8)
    x = torch.randn(BATCH, 6, 9, 8)
    found = count(lambda: layer(x).sum().backward())
    # Each is the other's gradient.
    twice = 2 * round(transform((6, 9), 16))
    assert found['mmfft.rfft2'] == found['mmfft.irfft2'] == twice


def test_a_hidden_convolution_is_counted_as_any_other():
    conv = nn.Conv2d(6, 8, 3, stride=2, padding=1)
    x = torch.randn(BATCH, 6, 7, 9, requires_grad=True)

    def hidden():
        y = conv2d_to_channels_last(
            x, conv.weight, conv.bias, [2, 2], [1, 1], 1
        )
        y.sum().backward()

    found = count(hidden)
    expected = count(lambda: conv(x).sum().backward())
    assert found == {
        f'mmfft.{name}': expected[f'aten.{name}']
        for name in ('convolution', 'convolution_backward')
    }
