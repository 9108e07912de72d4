# Copyright (c) mmfft authors. All rights reserved.
"""Every named arch at real sizes, the large ones included."""

import gc

import pytest
import torch
from published_records import SHAPES, backbone, is_gfnet

from mmfft.models import CDFFormer, DFFormer, GFNetPyramid

ODD = (101, 67)


@pytest.mark.slow
@pytest.mark.parametrize('arch', SHAPES)
def test_trains_at_any_size(arch):
    isotropic = is_gfnet(arch) and not arch.startswith('gfnet-h')
    levels = (5, -1) if isotropic else (0, 1, 2, 3)
    torch.manual_seed(0)
    model = backbone(arch, out_indices=levels)
    strides = (16, 16) if isotropic else (4, 8, 16, 32)
    assert_trains(model, [(224, 224), (192, 320), ODD], strides)
    del model
    gc.collect()


@pytest.mark.parametrize(
    'cls, arch',
    [
        (cls, arch)
        for cls in (CDFFormer, DFFormer, GFNetPyramid)
        for arch in cls.small_archs
    ],
)
def test_a_small_arch_trains_at_any_size(cls, arch):
    torch.manual_seed(0)
    assert_trains(cls(arch), [(224, 224), ODD], (4, 8, 16, 32))


def assert_trains(model, sizes, strides):
    for size in sizes:
        x = torch.randn(1, 3, *size)
        outs = model(x)
        for out, stride in zip(outs, strides):
            for side, n in zip(out.shape[2:], size):
                assert side in (n // stride, -(-n // stride))
        model.zero_grad()
        sum(out.square().mean() for out in outs).backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, (name, size)
            assert torch.isfinite(parameter.grad).all(), (name, size)
    plain = {n: p.grad.clone() for n, p in model.named_parameters()}
    model.with_cp = True
    model.zero_grad()
    recomputed = model(x)
    sum(out.square().mean() for out in recomputed).backward()
    for out, again in zip(outs, recomputed):
        assert torch.equal(out, again)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, plain[name])
