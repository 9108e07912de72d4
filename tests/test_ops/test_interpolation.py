# Copyright (c) mmfft authors. All rights reserved.
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mmfft.ops.interpolation import INTERPOLATIONS, interpolate

sizes = st.integers(1, 20)
grids = st.tuples(sizes, sizes)


@settings(max_examples=60, deadline=None)
@given(
    old=grids,
    new=grids,
    mode=st.sampled_from(list(INTERPOLATIONS)),
    align_corners=st.booleans(),
)
def test_it_is_the_operator(old, new, mode, align_corners):
    x = torch.randn(*old, 3, generator=torch.Generator().manual_seed(0))

    def operator(x):
        planes = x.permute(2, 0, 1)[None]
        out = F.interpolate(
            planes, size=new, mode=mode, align_corners=align_corners
        )
        return out[0].permute(1, 2, 0)

    def result(function):
        inner = x.clone().requires_grad_()
        out = function(inner)
        out.square().sum().backward()
        return out.detach(), inner.grad

    found = result(lambda x: interpolate(x, new, mode, align_corners))
    for value, expected, factor in zip(found, result(operator), (1, 50)):
        torch.testing.assert_close(
            value, expected, rtol=1e-5, atol=2e-5 * factor
        )


@pytest.mark.parametrize('mode', INTERPOLATIONS)
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_autocast_does_not_round_it(mode, dtype):
    x = torch.randn(7, 7, 3)
    expected = interpolate(x, (12, 9), mode, True)
    with torch.autocast('cpu', dtype=dtype):
        out = interpolate(x, (12, 9), mode, True)
    assert torch.equal(out, expected)
