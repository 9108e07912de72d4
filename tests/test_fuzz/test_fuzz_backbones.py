# Copyright (c) mmfft authors. All rights reserved.
"""Backbones of any shape, on images of any shape."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import fuzzed, laid_out, layouts, randn, sizes

from mmfft.backbones import (
    CDFFormer,
    DFFormer,
    GFFormer,
    GFNet,
    GFNetPyramid,
)
from mmfft.ops import FILTER_RESIZE_MODES

MIXERS = ('DynamicFilter', 'ExpandedGlobalFilter', 'AFNO2D', 'SepConv')
# Weights as large as those here overflow float16.
wide_dtypes = st.sampled_from([torch.float64, torch.float32, torch.bfloat16])
modes = st.sampled_from(FILTER_RESIZE_MODES)
# AFNO2D shares the doubled channels out to eight blocks.
widths = st.lists(st.sampled_from([4, 8, 12, 16]), min_size=4, max_size=4)
depths = st.lists(st.integers(0, 2), min_size=4, max_size=4)
levels = st.sets(st.integers(0, 3), min_size=1).map(sorted).map(tuple)
images = st.tuples(
    st.integers(0, 2), st.just(3), sizes(257).map(int), sizes(400).map(int)
)


@st.composite
def common(draw, least):
    return dict(
        img_size=draw(
            st.one_of(
                st.integers(least, 64),
                st.tuples(st.integers(least, 64), st.integers(least, 64)),
            )
        ),
        filter_resize=draw(modes),
        out_norm=draw(st.booleans()),
        with_cp=draw(st.booleans()),
        drop_path_rate=draw(st.sampled_from([0.0, 0.3])),
    )


@st.composite
def metaformers(draw):
    cls = draw(st.sampled_from([DFFormer, CDFFormer, GFFormer]))
    indices = draw(levels)
    if draw(st.booleans()):
        indices = tuple(i - 4 for i in indices)
    mixers = st.lists(st.sampled_from(MIXERS), min_size=4, max_size=4)
    return cls(
        dict(embed_dims=draw(widths), depths=draw(depths)),
        token_mixers=draw(st.one_of(st.none(), mixers)),
        num_filters=draw(st.integers(1, 4)),
        reweight_ratio=draw(st.sampled_from([0.25, 0.5, 1])),
        out_indices=indices,
        frozen_stages=draw(st.integers(-1, 4)),
        **draw(common(least=3)),
    )


@st.composite
def pyramids(draw):
    return GFNetPyramid(
        dict(
            embed_dims=draw(widths),
            depths=draw(depths),
            layer_scale=draw(st.sampled_from([1e-5, 1.0])),
        ),
        out_indices=draw(levels),
        frozen_stages=draw(st.integers(-1, 4)),
        **draw(common(least=1)),
    )


@st.composite
def gfnets(draw):
    depth = draw(st.integers(1, 3))
    indices = draw(st.sets(st.integers(-depth, -1), min_size=1))
    return GFNet(
        dict(embed_dim=draw(st.integers(1, 12)), depth=depth),
        patch_size=draw(st.integers(5, 17)),
        out_indices=sorted(indices),
        frozen_stages=draw(st.integers(-1, depth)),
        **draw(common(least=1)),
    )


backbones = st.one_of(metaformers(), pyramids(), gfnets())


def strides(model):
    if isinstance(model, GFNet):
        return [model.patch_embed.patch] * model.num_levels
    return [4, 8, 16, 32]


def widths_of(model):
    if isinstance(model, GFNet):
        return [model.arch['embed_dim']] * model.num_levels
    return model.arch['embed_dims']


def spread(model):
    """Weights that let the image through; a fresh gamma hardly does."""
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


@fuzzed(0.5)
@given(backbones, images, wide_dtypes, layouts)
def test_any_image_gives_features(model, shape, dtype, layout):
    x = laid_out(randn(*shape, seed=shape[2], dtype=dtype), layout)
    model = spread(model).to(dtype)
    least = model.min_image_size
    with torch.no_grad():
        if min(shape[2:]) < least:
            with pytest.raises(ValueError, match=f'of at least {least}'):
                model(x)
            return
        outs = model(x)
        assert len(outs) == len(model.out_indices)
        for i, out in zip(model.out_indices, outs):
            stride = strides(model)[i]
            assert out.dtype == dtype and out.is_contiguous()
            assert out.shape[:2] == (shape[0], widths_of(model)[i])
            for n, size in zip(out.shape[2:], shape[2:]):
                assert math.ceil((size - 3) / stride) <= n
                assert n <= math.ceil(size / stride)
            assert out.isfinite().all()
        # Each image by itself, whatever else is in the batch.
        if shape[0] == 2 and dtype in (torch.float32, torch.float64):
            for out, alone in zip(outs, model(x[:1]), strict=True):
                scale = alone.abs().max().clamp(min=1.0)
                assert (out[:1] - alone).abs().max() < 1e-3 * scale
        # The meta device gives the same shapes.
        metas = model.to('meta')(x.to('meta'))
        for out, meta in zip(outs, metas, strict=True):
            assert out.shape == meta.shape and meta.is_contiguous()


@fuzzed(0.2)
@given(backbones, st.tuples(st.integers(3, 60), st.integers(3, 60)))
def test_training_reaches_what_is_not_frozen(model, size):
    model = spread(model)
    model.train()
    outs = model(randn(2, 3, *size, seed=0, dtype=torch.float32))
    weights = [torch.randn_like(out) for out in outs]
    loss = sum((w * out).sum() for w, out in zip(weights, outs))
    if loss.requires_grad:
        loss.backward()
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            assert parameter.grad is None, name
            continue
        # No parameter is left over, which distributed training would miss.
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@fuzzed(0.2)
@given(backbones, st.data())
def test_state_goes_to_another_grid(model, data):
    """What one size learned, a model of another size takes."""
    size = data.draw(st.tuples(st.integers(3, 64), st.integers(3, 64)))
    model = spread(model)
    kwargs = dict(
        arch=model.arch, img_size=size, out_indices=model.out_indices
    )
    if isinstance(model, DFFormer):
        for name in ('token_mixers', 'num_filters', 'reweight_ratio'):
            kwargs[name] = getattr(model, name)
    if isinstance(model, GFNet):
        kwargs['patch_size'] = model.patch_embed.patch
    other = type(model)(**kwargs)
    state = {k: v.clone() for k, v in model.state_dict().items()}
    outcome = other.load_state_dict(state, strict=False)
    assert not outcome.unexpected_keys
    assert all(k.startswith('norm') for k in outcome.missing_keys)
    # The caller's stays as it was.
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    # The same network: resized at load is what is resized at forward.
    for name, parameter in other.named_parameters():
        assert parameter.isfinite().all(), name


SIDES = 'x', 3.5, None, 0, -4, (32,), (32, 0), (8, 8, 8), ['8', '8']
COUNTS = 0, -1, 1.5, '2', None, True
TINY = dict(embed_dims=[8, 8, 8, 8], depths=[1, 1, 1, 1])
NAN = float('nan')
WRONG = [
    *[(DFFormer, 'img_size', v) for v in (*SIDES, 2)],
    *[(DFFormer, 'in_channels', v) for v in COUNTS],
    *[(DFFormer, 'num_filters', v) for v in COUNTS],
    *[(DFFormer, 'reweight_ratio', v) for v in (0, -1, NAN, 'a', None, 1e-9)],
    *[(DFFormer, 'drop_path_rate', v) for v in (-0.1, 1, 2, NAN, 'a', None)],
    *[(DFFormer, 'frozen_stages', v) for v in (-2, 5, 1.5, '1', None)],
    *[
        (DFFormer, 'out_indices', v)
        for v in ((), (4,), (-5,), (1, 1), (2, 1), 1.5, '1', None, (0.0,))
    ],
    *[
        (DFFormer, 'act_cfg', v)
        for v in ({}, 'GELU', None, dict(type='nope'), dict(type='GELU', a=1))
    ],
    *[(DFFormer, 'filter_resize', v) for v in ('nearest', None, 1, ['a'])],
    *[
        (DFFormer, 'token_mixers', v)
        for v in ((), 'SepConv', 5, ('SepConv',) * 3, ('x',) * 4, [[]] * 4)
    ],
    *[
        (DFFormer, 'arch', v)
        for v in (
            'nope',
            None,
            5,
            {},
            {**TINY, 'more': 1},
            {**TINY, 'embed_dims': [8] * 3},
            {**TINY, 'embed_dims': 8},
            {**TINY, 'depths': None},
            *({**TINY, 'embed_dims': [8, 8, 8, v]} for v in COUNTS),
            *({**TINY, 'depths': [1, 1, 1, v]} for v in COUNTS[1:]),
        )
    ],
    *[(GFNet, 'patch_size', v) for v in COUNTS],
    *[(GFNet, 'img_size', v) for v in SIDES],
    *[(GFNet, 'arch', dict(embed_dim=8, depth=v)) for v in COUNTS],
    *[(GFNet, 'arch', dict(embed_dim=v, depth=1)) for v in COUNTS],
    *[(GFNetPyramid, 'drop_path_rate', v) for v in (-0.1, 1, 'a')],
]


@pytest.mark.parametrize(('cls', 'name', 'value'), WRONG)
def test_a_wrong_argument_is_named(cls, name, value):
    arch = dict(embed_dim=8, depth=2) if cls is GFNet else TINY
    arch = {**TINY, 'layer_scale': 1.0} if cls is GFNetPyramid else arch
    with pytest.raises((ValueError, TypeError)) as error:
        cls(**{'arch': arch, 'img_size': 32, name: value})
    assert name in str(error.value), error.value


@fuzzed()
@given(
    st.sampled_from(['in_channels', 'num_filters', 'frozen_stages', 'arch'])
    | st.sampled_from(['img_size', 'out_indices', 'drop_path_rate'])
    | st.sampled_from(['filter_resize', 'token_mixers', 'reweight_ratio']),
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-3, 70)
        | st.floats()
        | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=5)
            | st.dictionaries(st.sampled_from(sorted(TINY)), inner)
        ),
        max_leaves=6,
    ),
)
def test_anything_as_argument(name, value):
    """Built, or refused with the argument's name: nothing else."""
    try:
        DFFormer(**{'arch': TINY, 'img_size': 32, name: value})
    except (ValueError, TypeError) as error:
        assert name in str(error), error


@pytest.mark.parametrize(
    'x',
    [
        None,
        [1.0],
        torch.zeros(3, 32, 32),
        torch.zeros(1, 4, 32, 32),
        torch.zeros(1, 3, 0, 32),
        torch.zeros(1, 3, 32, 32, dtype=torch.uint8),
        torch.zeros(1, 3, 32, 32, dtype=torch.complex64),
    ],
)
def test_what_is_no_image(x):
    with pytest.raises((ValueError, TypeError), match='the image must'):
        DFFormer(TINY, img_size=32)(x)
