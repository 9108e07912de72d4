# Copyright (c) mmfft authors. All rights reserved.
"""Each mixer against its paper's formula, written plainly in float64."""

import math

import pytest
import torch
from oracle.filters import filtered
from oracle.mixers import dynamic_filter, routing, star_relu

from mmfft.errors import ConfigError
from mmfft.layers import (
    AFNO2D,
    DynamicFilter,
    ExpandedGlobalFilter,
    GlobalFilter,
    SepConv,
    SquaredReLU,
    StarReLU,
)

GRIDS = [(6, 8), (5, 7), (1, 1), (3, 2)]


def randomized(mixer):
    torch.manual_seed(0)
    for parameter in mixer.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return mixer.double()


@pytest.mark.parametrize('grid', GRIDS)
def test_global_filter(grid):
    mixer = randomized(GlobalFilter(4, grid))
    x = torch.randn(2, *grid, 4, dtype=torch.float64)
    kernel = torch.view_as_complex(mixer.filter.weight)
    torch.testing.assert_close(mixer(x), filtered(x, kernel))


@pytest.mark.parametrize('grid', GRIDS)
def test_expanded_global_filter(grid):
    mixer = randomized(ExpandedGlobalFilter(4, grid))
    x = torch.randn(2, *grid, 4, dtype=torch.float64)
    hidden = star_relu(x @ mixer.pwconv1.weight.T, mixer.act1)
    kernel = torch.view_as_complex(mixer.filter.weight)
    expected = filtered(hidden, kernel) @ mixer.pwconv2.weight.T
    torch.testing.assert_close(mixer(x), expected)


@pytest.mark.parametrize('grid', GRIDS)
@pytest.mark.parametrize('num_filters', [1, 4])
def test_dynamic_filter(grid, num_filters):
    mixer = randomized(DynamicFilter(8, grid, num_filters=num_filters))
    x = torch.randn(2, *grid, 8, dtype=torch.float64)
    weights = routing(mixer, x, num_filters)
    assert weights.shape == (2, num_filters, 16)
    torch.testing.assert_close(mixer.routing(x), weights)
    basis = torch.view_as_complex(mixer.basis.weight)
    torch.testing.assert_close(mixer(x), dynamic_filter(mixer, x, basis))


def test_dynamic_filters_differ_between_images():
    mixer = randomized(DynamicFilter(8, (4, 4)))
    routing = mixer.routing(torch.randn(2, 4, 4, 8, dtype=torch.float64))
    assert not torch.allclose(routing[0], routing[1])


@pytest.mark.parametrize('grid', GRIDS)
def test_afno(grid):
    mixer = randomized(AFNO2D(8, num_blocks=4))
    x = torch.randn(2, *grid, 8, dtype=torch.float64)
    hidden = star_relu(x @ mixer.pwconv1.weight.T, mixer.act1)
    spectrum = torch.fft.rfft2(hidden, dim=(1, 2), norm='ortho')
    blocks = spectrum.unflatten(-1, (4, 4))
    for weight, bias, act in [
        (mixer.w1, mixer.b1, torch.relu),
        (mixer.w2, mixer.b2, lambda part: part),
    ]:
        weight, bias = torch.complex(*weight), torch.complex(*bias)
        blocks = torch.einsum('...ki,kio->...ko', blocks, weight) + bias
        blocks = torch.complex(act(blocks.real), act(blocks.imag))
    shrink = torch.nn.Softshrink(0.01)
    blocks = torch.complex(shrink(blocks.real), shrink(blocks.imag))
    mixed = torch.fft.irfft2(
        blocks.flatten(-2), s=grid, dim=(1, 2), norm='ortho'
    )
    expected = (mixed + hidden) @ mixer.pwconv2.weight.T
    torch.testing.assert_close(mixer(x), expected)


@pytest.mark.parametrize('grid', GRIDS)
def test_sep_conv(grid):
    mixer = randomized(SepConv(4))
    x = torch.randn(2, *grid, 4, dtype=torch.float64)
    hidden = star_relu(x @ mixer.pwconv1.weight.T, mixer.act1)
    padded = torch.zeros(2, grid[0] + 6, grid[1] + 6, 8, dtype=x.dtype)
    padded[:, 3:-3, 3:-3] = hidden
    out = torch.zeros_like(hidden)
    for i in range(7):
        for j in range(7):
            window = padded[:, i : i + grid[0], j : j + grid[1]]
            out += window * mixer.dwconv.weight[:, 0, i, j]
    torch.testing.assert_close(mixer(x), out @ mixer.pwconv2.weight.T)


def test_activations():
    x = torch.randn(50)
    star = StarReLU()
    torch.testing.assert_close(star(x), x.clamp(min=0) ** 2)
    torch.nn.init.constant_(star.scale, 2)
    torch.nn.init.constant_(star.bias, -1)
    torch.testing.assert_close(star(x), 2 * x.clamp(min=0) ** 2 - 1)
    torch.testing.assert_close(SquaredReLU()(x), x.clamp(min=0) ** 2)


def test_star_relu_gradients():
    star = StarReLU().double()
    x = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)

    def apply(x, scale, bias):
        return torch.func.functional_call(
            star, dict(scale=scale, bias=bias), (x,)
        )

    inputs = (x, star.scale, star.bias)
    assert torch.autograd.gradcheck(apply, inputs)
    assert torch.autograd.gradgradcheck(apply, inputs)


def star_relu_results(x, grad):
    star = StarReLU().to(x.dtype if x.dtype == torch.float64 else None)
    torch.nn.init.constant_(star.scale, 0.25)
    x = x.clone().requires_grad_()
    y = star(x)
    y.backward(grad)
    return y.detach(), x.grad, star.scale.grad, star.bias.grad


# Sums and products of these leave the range of float16, results do not.
@pytest.mark.parametrize(
    ('x_size', 'grad_size'), [(1, 1000), (300, 250), (0.01, 1e-5)]
)
def test_star_relu_has_the_range_of_float16(x_size, grad_size):
    x = torch.randn(4, 24, 24, 16).clamp(-1.6, 1.6) * x_size
    grad = torch.rand(4, 24, 24, 16) * grad_size
    x, grad = x.half(), grad.half()
    x[0, 0, 0] = -math.inf  # left by a layer before
    exact = star_relu_results(x.double().clamp(min=-1), grad.double())
    for found, expected in zip(star_relu_results(x, grad), exact):
        is_half = found.dtype == torch.float16
        assert not is_half or torch.isfinite(expected.half()).all()
        torch.testing.assert_close(
            found.double(),
            expected,
            rtol=2e-3 if is_half else 1e-4,
            atol=1e-7 if is_half else 0,
        )


@pytest.mark.slow
def test_star_relu_sums_a_whole_batch_in_float16():
    shape = (128, 56, 56, 128)
    x, grad = torch.randn(shape).half(), torch.full(shape, 2.0).half()
    grad[::2] = 3
    _, _, *found = star_relu_results(x, grad)
    exact = [0.0, 0.0]
    for a, b in zip(x.double(), grad.double()):
        exact[0] += (a.relu().square() * b).sum()
        exact[1] += b.sum()
    for value, expected in zip(found, exact):
        torch.testing.assert_close(
            value.double(), expected[None], rtol=1e-5, atol=0
        )


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_star_relu_under_a_transform_has_the_same_range(dtype):
    x = torch.tensor([[300.0, -2.0, 0.5]], dtype=dtype)
    star = StarReLU()
    torch.nn.init.constant_(star.scale, 0.25)
    expected = 0.25 * x.double().relu().square()
    for y in (star(x), torch.func.vmap(star)(x)):
        assert y.dtype == dtype
        torch.testing.assert_close(y.double(), expected, rtol=8e-3, atol=0)


def test_star_relu_keeps_one_tensor_of_its_size():
    x = torch.randn(40, 50, requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: kept.append(t.shape) or t, lambda t: t
    ):
        StarReLU()(x)
    assert kept.count(x.shape) == 1


def test_bad_arguments_are_named():
    with pytest.raises(ConfigError, match='num_blocks=5'):
        AFNO2D(8, num_blocks=5)
    with pytest.raises(ConfigError, match='num_filters .* 0'):
        DynamicFilter(8, (4, 4), num_filters=0)
    with pytest.raises(ConfigError, match='reweight_ratio=0.01'):
        DynamicFilter(8, (4, 4), reweight_ratio=0.01)
