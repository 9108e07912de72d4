# Copyright (c) mmfft authors. All rights reserved.
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mmfft.ops import use_path
from mmfft.ops.bicubic import interpolate_bicubic

sizes = st.integers(1, 20)
grids = st.tuples(sizes, sizes)


@settings(max_examples=60, deadline=None)
@given(old=grids, new=grids, align_corners=st.booleans())
@pytest.mark.parametrize('path', ['fft', 'export'])
def test_both_ways_are_the_operator(path, old, new, align_corners):
    x = torch.randn(*old, 3, generator=torch.Generator().manual_seed(0))
    expected = F.interpolate(
        x.permute(2, 0, 1)[None],
        size=new,
        mode='bicubic',
        align_corners=align_corners,
    )[0].permute(1, 2, 0)
    with use_path(path):
        out = interpolate_bicubic(x, new, align_corners)
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=2e-5)
