# Copyright (c) mmfft authors. All rights reserved.
"""Backbones whose filters are not circular."""

import pytest
import torch
from torch.export import Dim, export

from mmfft.errors import ConfigError
from mmfft.layers import HalfSpectrum
from mmfft.models import CDFFormer, DFFormer, GFFormer, GFNet, GFNetPyramid

TINY = dict(embed_dims=[8, 8, 8, 8], depths=[1, 1, 1, 1])
BACKBONES = {
    'dfformer': (DFFormer, dict(arch=TINY)),
    'cdfformer': (CDFFormer, dict(arch=TINY)),
    'gfformer': (GFFormer, dict(arch=TINY)),
    'gfnet-h': (GFNetPyramid, dict(arch=dict(**TINY, layer_scale=0.5))),
    'gfnet': (GFNet, dict(arch=dict(embed_dim=8, depth=1), patch_size=8)),
}
SIZES = [(64, 64), (45, 70)]
every_backbone = pytest.mark.parametrize('name', BACKBONES)


def build(name, boundary, **more):
    """A model whose weights are all large enough to matter."""
    cls, options = BACKBONES[name]
    torch.manual_seed(0)
    options = dict(options, img_size=64, boundary=boundary, **more)
    model = cls(**options).eval().requires_grad_(False)
    for weight in model.parameters():
        weight.add_(0.2 * torch.randn_like(weight))
    return model


def images(*size):
    g = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, *size, generator=g)


def as_large(ours, expected):
    return (ours - expected).abs().max() / expected.abs().max()


@pytest.mark.parametrize('boundary', ['zero', ('reflect', 'circular')])
@every_backbone
def test_every_filter_has_it(name, boundary):
    model, circular = build(name, boundary), build(name, 'circular')
    axes = (boundary,) * 2 if isinstance(boundary, str) else boundary
    filters = [m for m in model.modules() if isinstance(m, HalfSpectrum)]
    assert filters and {f.boundary for f in filters} == {axes}
    model.load_state_dict(circular.state_dict(), strict=True)
    for size in SIZES:
        x = images(*size)
        for ours, others in zip(model(x), circular(x), strict=True):
            assert ours.shape == others.shape
        assert as_large(ours, others) > 1e-3


@pytest.mark.parametrize('boundary', ['zero', 'reflect', 'circular'])
def test_the_far_border_is_seen_by_a_circular_filter_alone(boundary):
    model = build('gfnet', boundary)
    x = images(64, 64)
    changed = x.clone()
    changed[..., -8:] += 1  # the last column of the 8 patches
    (before,), (after,) = model(x), model(changed)
    near = (before - after).abs()[..., :3].max()
    assert near > 1e-3 if boundary == 'circular' else near < 1e-5
    assert (before - after).abs()[..., 4:].amax((0, 1, 2)).min() > 1e-3


def test_what_has_no_taps_is_circular():
    mixers = ('DynamicFilter', 'AFNO2D', 'SepConv', 'SepConv')
    with pytest.raises(ConfigError, match="boundary='zero': AFNO2D, among"):
        DFFormer(TINY, token_mixers=mixers, boundary='zero')
    DFFormer(TINY, token_mixers=mixers, boundary=('circular', 'circular'))


@every_backbone
def test_a_wrong_boundary(name):
    with pytest.raises(ConfigError, match=r"boundary must be .*got 'same'"):
        build(name, 'same')


def test_a_wrong_boundary_without_a_filter():
    with pytest.raises(ConfigError, match='boundary must be'):
        DFFormer(TINY, token_mixers=('SepConv',) * 4, boundary='same')


@every_backbone
def test_traced(name):
    model = build(name, ('zero', 'reflect'))
    traced = torch.fx.symbolic_trace(model)
    for size in SIZES:
        x = images(*size)
        for ours, expected in zip(traced(x), model(x), strict=True):
            torch.testing.assert_close(ours, expected)


def test_traced_by_torchscript():
    model, x = build('gfnet', ('zero', 'reflect')), images(45, 70)
    torch.testing.assert_close(torch.jit.trace(model, x)(x), model(x))


@pytest.mark.slow
def test_compiled():
    model = build('dfformer', ('zero', 'reflect'))
    compiled = torch.compile(model, fullgraph=True, backend='aot_eager')
    for size in SIZES:
        x = images(*size)
        for ours, expected in zip(compiled(x), model(x), strict=True):
            assert as_large(ours, expected) < 1e-5
    torch.compiler.reset()


@pytest.mark.slow
def test_one_graph_for_any_batch_and_size():
    model = build('gfnet', ('zero', 'reflect'))
    free = {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    program = export(model, (images(64, 96),), dynamic_shapes=(free,))
    for size in [*SIZES, (36, 20)]:
        x = images(*size)
        for ours, expected in zip(program.module()(x), model(x), strict=True):
            assert as_large(ours, expected) < 1e-5
