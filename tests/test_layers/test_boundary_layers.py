# Copyright (c) mmfft authors. All rights reserved.
"""The mixers with another boundary than the circular one."""

import copy
from itertools import product

import pytest
import torch
from oracle.boundary import filtered_in_space, kernel_of
from oracle.filters import as_complex, mixture
from oracle.mixers import routing, star_relu
from torch import nn

from mmfft.errors import ConfigError
from mmfft.layers import (
    DynamicFilter,
    DynamicFilter2d,
    ExpandedGlobalFilter,
    GlobalFilter,
    GlobalFilter2d,
    HalfSpectrum,
)
from mmfft.ops import (
    BOUNDARIES,
    FILTER_RESIZE_MODES,
    half_spectrum_shape,
    resize_filter,
    spectral_filter,
    use_path,
)

MIXERS = (GlobalFilter, ExpandedGlobalFilter, DynamicFilter)
OTHER = ('zero', 'reflect', ('circular', 'zero'), ('reflect', 'zero'))
STORED = (6, 7)
SIZES = [STORED, (9, 4), (1, 5), (2, 1)]
every_mixer = pytest.mark.parametrize('mixer', MIXERS)
other_boundaries = pytest.mark.parametrize('boundary', OTHER, ids=str)


def make(mixer, boundary, **kwargs):
    torch.manual_seed(0)
    layer = mixer(4, STORED, boundary=boundary, **kwargs)
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.5)
    return layer


def formula(layer, x, boundary, mode='bicubic'):
    """As in the papers, but for the convolution, which is done in space."""
    if isinstance(boundary, str):
        boundary = (boundary,) * 2
    size = tuple(x.shape[1:3])
    filters = layer.basis if isinstance(layer, DynamicFilter) else layer.filter
    half = as_complex(resize_filter(filters.weight, STORED, size, mode))
    if isinstance(layer, GlobalFilter):
        return filtered_in_space(x, kernel_of(half, size[1]), boundary)
    if isinstance(layer, DynamicFilter):
        half = mixture(routing(layer, x, layer.num_filters), half)
    hidden = star_relu(x @ layer.pwconv1.weight.T, layer.act1)
    y = filtered_in_space(hidden, kernel_of(half, size[1]), boundary)
    return y @ layer.pwconv2.weight.T


@other_boundaries
@every_mixer
def test_values_and_gradients(mixer, boundary):
    for size, mode in product(SIZES, FILTER_RESIZE_MODES):
        layer = make(mixer, boundary, filter_resize=mode).double()
        x = torch.randn(2, *size, 4, dtype=torch.float64, requires_grad=True)
        y, expected = layer(x), formula(layer, x, boundary, mode)
        torch.testing.assert_close(y, expected)
        assert y.is_contiguous()
        tensors, weights = [x, *layer.parameters()], torch.randn_like(y)
        torch.testing.assert_close(
            torch.autograd.grad(y, tensors, weights),
            torch.autograd.grad(expected, tensors, weights),
        )


@pytest.mark.parametrize('path', ['fft', 'matmul', 'export'])
@every_mixer
def test_every_path(mixer, path):
    layer = make(mixer, ('zero', 'reflect')).double()
    for size in SIZES:
        x = torch.randn(2, *size, 4, dtype=torch.float64)
        with use_path(path):
            y = layer(x)
        torch.testing.assert_close(y, formula(layer, x, ('zero', 'reflect')))


@every_mixer
def test_the_default_is_circular_and_adds_nothing(mixer):
    x = torch.randn(2, *STORED, 4)
    layer, other = make(mixer, 'circular'), make(mixer, 'zero')
    other.load_state_dict(layer.state_dict(), strict=True)
    assert not torch.allclose(layer(x), other(x), rtol=1e-3)
    default = mixer(4, STORED)
    default.load_state_dict(layer.state_dict())
    torch.testing.assert_close(default(x), layer(x), rtol=0, atol=0)
    operators = str(torch.fx.symbolic_trace(layer).graph)
    assert 'extend' not in operators and 'crop' not in operators


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize('boundary', ['zero', 'reflect'])
@every_mixer
def test_half_precision(mixer, boundary, dtype):
    layer = make(mixer, boundary)
    x = torch.randn(2, 9, 4, 4)
    expected = formula(layer.double(), x.double(), boundary)
    layer.float()
    with torch.autocast('cpu', dtype=dtype):
        under_autocast = layer(x)
    for y in (under_autocast, layer.to(dtype)(x.to(dtype))):
        error = (y.double() - expected).norm() / expected.norm()
        assert error < (0.03 if dtype == torch.bfloat16 else 0.004)
    assert y.dtype == dtype


@other_boundaries
@every_mixer
def test_transforms(mixer, boundary):
    layer = make(mixer, boundary)
    x = torch.randn(3, 2, 9, 4, 4)
    torch.testing.assert_close(
        torch.func.vmap(layer)(x), torch.stack([layer(part) for part in x])
    )
    traced = torch.fx.symbolic_trace(layer)
    for size in [STORED, (9, 4)]:
        x = torch.randn(2, *size, 4)
        torch.testing.assert_close(traced(x), layer(x))


@pytest.mark.slow
def test_compiled_for_any_size():
    layer = make(DynamicFilter, ('zero', 'reflect'))
    compiled = torch.compile(
        layer, fullgraph=True, dynamic=True, backend='aot_eager'
    )
    for size in [(12, 16), (9, 20), STORED]:
        x = torch.randn(2, *size, 4)
        torch.testing.assert_close(compiled(x), layer(x))
    torch.compiler.reset()


@pytest.mark.parametrize('layer', [GlobalFilter2d, DynamicFilter2d])
@pytest.mark.parametrize(
    'layout', [torch.contiguous_format, torch.channels_last]
)
def test_channels_first(layer, layout):
    ours = make(layer, 'zero')
    x = torch.randn(2, 4, 9, 5).contiguous(memory_format=layout)
    y = ours(x)
    assert y.is_contiguous(memory_format=layout)
    last = layer.__mro__[2]
    expected = last.forward(ours, x.movedim(1, -1)).movedim(-1, 1)
    torch.testing.assert_close(y, expected)


# ---------------------------------------------------------------- the filters


def test_a_filter_is_read_on_the_extended_grid():
    filters = HalfSpectrum(STORED, 2, boundary=('zero', 'reflect'))
    on_map = resize_filter(filters.weight, STORED, (5, 8))
    torch.testing.assert_close(
        filters((5, 8)), resize_filter(on_map, (5, 8), (7, 14), 'kernel')
    )
    assert filters(STORED).shape[:2] == half_spectrum_shape((9, 12))
    assert "boundary=('zero', 'reflect')" in repr(filters)


def test_it_is_extended_once_in_evaluation():
    filters = HalfSpectrum(STORED, 2, boundary='zero').eval()
    with torch.no_grad():
        # Also on the grid that it is stored for.
        for grid in (STORED, (5, 8)):
            first = filters(grid)
            assert filters(grid) is first
        filters.weight.mul_(2)
        torch.testing.assert_close(filters(grid), 2 * first)
    filters(grid).sum().backward()
    assert filters.weight.grad.abs().sum() > 0


def test_storing_and_loading_do_not_depend_on_it():
    circular = HalfSpectrum(STORED, 2)
    other = HalfSpectrum((8, 8), 2, boundary='reflect')
    other.load_state_dict(circular.state_dict())
    expected = resize_filter(circular.weight, STORED, (8, 8))
    torch.testing.assert_close(other.weight, expected)
    stored = copy.deepcopy(other)
    stored.store_for((4, 5))
    assert stored.size == (4, 5)
    torch.testing.assert_close(
        stored.weight, resize_filter(expected, (8, 8), (4, 5))
    )


def test_a_map_is_filtered_by_any_function():
    filters = HalfSpectrum(STORED, 4, boundary='zero').double()
    x = torch.randn(2, *STORED, 4, dtype=torch.float64)
    kernel = kernel_of(as_complex(filters.weight), STORED[1])
    torch.testing.assert_close(
        filters.filter_map(x, spectral_filter),
        filtered_in_space(x, kernel, ('zero', 'zero')),
    )


@pytest.mark.parametrize('boundary', ['same', ('zero',), None])
@pytest.mark.parametrize('mixer', [*MIXERS, GlobalFilter2d, DynamicFilter2d])
def test_a_wrong_boundary(mixer, boundary):
    names = ', '.join(map(repr, BOUNDARIES))
    with pytest.raises(ConfigError) as error:
        mixer(4, STORED, boundary=boundary)
    assert f'boundary must be one of ({names})' in str(error.value)
    assert str(error.value).endswith(f'got {boundary!r}')
