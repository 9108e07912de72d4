# Copyright (c) mmfft authors. All rights reserved.
"""The op on any map, against the transforms of PyTorch in float64."""

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from oracle.filters import as_complex, filtered, mixture
from strategies import (
    assert_near,
    dtypes,
    fuzzed,
    grids,
    laid_out,
    layouts,
    randn,
    seeds,
    small_grids,
)

from mmfft.ops import (
    FILTER_RESIZE_MODES,
    PATHS,
    dynamic_spectral_filter,
    half_spectrum_shape,
    irfft2,
    project_hermitian,
    resize_filter,
    rfft2,
    spectral_filter,
    use_path,
)

paths = st.sampled_from(PATHS)
modes = st.sampled_from(FILTER_RESIZE_MODES)
batches = st.integers(0, 3)
channels = st.integers(1, 4)


def plain(x, kernel):
    """The formula, for an empty batch too, which PyTorch's FFT refuses."""
    return filtered(x, kernel) if len(x) else x + 0 * kernel.sum().real


def affordable(grid, path):
    """Matrix products over large maps take their time."""
    return path == 'fft' or sum(grid) <= 200


@fuzzed()
@given(grids, batches, channels, dtypes, layouts, paths, seeds)
def test_static_filter(grid, b, c, dtype, layout, path, seed):
    assume(affordable(grid, path))
    x = laid_out(randn(b, *grid, c, seed=seed, dtype=dtype), layout)
    filter = randn(*half_spectrum_shape(grid), c, 2, seed=seed + 1)
    filter = laid_out(filter.to(dtype), layout)
    before = x.clone(), filter.clone()
    with use_path(path):
        y = spectral_filter(x, filter)
    assert y.dtype == dtype and y.shape == x.shape
    assert torch.equal(x, before[0]) and torch.equal(filter, before[1])
    kernel = as_complex(filter.double())[None]
    assert_near(y, plain(x.double(), kernel), dtype)


@fuzzed()
@given(grids, batches, channels, st.integers(1, 5), dtypes, layouts, paths)
def test_dynamic_filter(grid, b, c, n, dtype, layout, path):
    assume(affordable(grid, path))
    x = laid_out(randn(b, *grid, c, seed=c, dtype=dtype), layout)
    basis = randn(*half_spectrum_shape(grid), n, 2, seed=n, dtype=dtype)
    basis = laid_out(basis, layout)
    routing = randn(b, n, c, seed=b, dtype=dtype).softmax(1)
    with use_path(path):
        y = dynamic_spectral_filter(x, routing, basis)
    assert y.dtype == dtype and y.shape == x.shape
    kernel = mixture(routing, as_complex(basis.double()))
    assert_near(y, plain(x.double(), kernel), dtype)


@fuzzed()
@given(small_grids, st.integers(0, 2), channels, layouts, paths, seeds)
def test_gradients(grid, b, c, layout, path, seed):
    """Of any loss, to any layout of its gradient, as autograd has them."""
    shape = half_spectrum_shape(grid)
    x = randn(b, *grid, c, seed=seed).requires_grad_()
    basis = randn(*shape, 3, 2, seed=seed).requires_grad_()
    routing = randn(b, 3, c, seed=seed).requires_grad_()
    grad = laid_out(randn(b, *grid, c, seed=seed + 1), layout)
    with use_path(path):
        y = dynamic_spectral_filter(x, routing, basis)
    found = torch.autograd.grad(y, (x, routing, basis), grad)
    kernel = mixture(routing, as_complex(project_hermitian(basis, grid)))
    y = plain(x, kernel)
    expected = torch.autograd.grad(
        y, (x, routing, basis), grad, materialize_grads=True
    )
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape
        assert_near(ours, theirs, torch.float64)


@fuzzed()
@given(grids, st.integers(0, 2), channels, dtypes, layouts, paths)
def test_there_and_back(grid, b, c, dtype, layout, path):
    assume(affordable(grid, path))
    x = laid_out(randn(b, *grid, c, seed=b, dtype=dtype), layout)
    with use_path(path):
        real, imag = rfft2(x)
        y = irfft2(real, imag, grid[1])
    assert real.shape == imag.shape == (b, grid[0], grid[1] // 2 + 1, c)
    assert real.dtype == torch.promote_types(dtype, torch.float32)
    assert_near(y, x.double(), real.dtype)


@fuzzed()
@given(grids, batches, st.integers(0, 2))
def test_what_compiles_knows_shape_and_layout(grid, b, levels):
    """The meta device runs what the compiler believes of the op."""
    x = torch.empty(b, *grid, 4, device='meta')
    filter = torch.empty(*half_spectrum_shape(grid), 4, 2, device='meta')
    routing = torch.empty(b, 4, 4, device='meta')
    for y in (
        spectral_filter(x, filter),
        dynamic_spectral_filter(x, routing, filter),
        irfft2(*rfft2(x), grid[1]),
    ):
        assert y.shape == x.shape and y.stride() == x.stride()


@fuzzed()
@given(small_grids, small_grids, modes, dtypes, layouts, paths, channels)
def test_a_filter_goes_to_any_grid(old, new, mode, dtype, layout, path, c):
    filter = randn(*half_spectrum_shape(old), c, 2, seed=c, dtype=dtype)
    filter = laid_out(filter, layout)
    with use_path(path):
        resized = resize_filter(filter, old, new, mode)
    assert resized.shape == (*half_spectrum_shape(new), c, 2)
    assert resized.dtype == dtype and resized.isfinite().all()
    with use_path('fft'):
        expected = resize_filter(filter.double(), old, new, mode)
    assert_near(resized, expected, dtype)
    if mode in ('bicubic', 'bilinear'):
        # The mean of the features is kept.
        torch.testing.assert_close(resized[0, 0], filter[0, 0])
    elif dtype == torch.float64 and old != new:
        projected = project_hermitian(resized, new)
        torch.testing.assert_close(projected, resized)


@fuzzed()
@given(small_grids, small_grids, modes, seeds)
def test_resizing_is_linear_and_differentiable(old, new, mode, seed):
    shape = half_spectrum_shape(old)
    a, b = (randn(*shape, 2, 2, seed=seed + i) for i in range(2))
    a.requires_grad_()

    def resize(filter):
        return resize_filter(filter, old, new, mode)

    torch.testing.assert_close(
        resize(2 * a + b), 2 * resize(a) + resize(b), atol=1e-9, rtol=1e-9
    )
    # <R a, g> = <a, R* g>.
    grad = randn(*half_spectrum_shape(new), 2, 2, seed=seed + 3)
    product = (resize(a) * grad).sum()
    (adjoint,) = torch.autograd.grad(product, a)
    torch.testing.assert_close((adjoint * a).sum(), product)


@fuzzed()
@given(small_grids, st.tuples(st.integers(0, 20), st.integers(0, 20)), seeds)
def test_a_kernel_survives_growing(old, more, seed):
    new = (old[0] + more[0], old[1] + more[1])
    filter = randn(*half_spectrum_shape(old), 2, 2, seed=seed)
    filter = project_hermitian(filter, old)
    for mode in ('kernel', 'spectrum'):
        there = resize_filter(filter, old, new, mode)
        back = resize_filter(there, new, old, mode)
        torch.testing.assert_close(back, filter)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('path', PATHS)
def test_beyond_float16(dtype, path):
    """Computed in float32: what overflows is the result, nothing before it.

    The sum over the map (here 16 x 16 x 1000) is beyond float16, and so is
    the product with a filter of 1000, but not the mean that comes out.
    """
    grid = (16, 16)
    x = torch.full((1, *grid, 1), 1000.0, dtype=dtype)
    filter = torch.zeros(*half_spectrum_shape(grid), 1, 2, dtype=dtype)
    filter[..., 0] = 1000.0
    routing = torch.full((1, 1, 1), 1e-3, dtype=dtype)
    with use_path(path):
        y = dynamic_spectral_filter(x, routing, filter)
        assert y.isfinite().all()
        torch.testing.assert_close(y.float(), x.float(), rtol=1e-2, atol=0)
        # 10^6 as a result is infinite in float16, and said so; not NaN.
        y = spectral_filter(x, filter)
    assert not y.isnan().any()
    assert y.isinf().all() == (dtype == torch.float16)


@pytest.mark.parametrize('value', [float('inf'), float('nan')])
def test_an_overflow_reaches_the_loss(value):
    """It is not hidden: every output of the channel shows it."""
    x = randn(2, 6, 7, 3, seed=0, dtype=torch.float32)
    filter = randn(6, 4, 3, 2, seed=1, dtype=torch.float32)
    x[0, 2, 3, 1] = value
    for path in PATHS:
        with use_path(path):
            bad = ~spectral_filter(x, filter).isfinite()
        assert bad[0, ..., 1].all(), path
        assert not bad[1].any() and not bad[0, ..., 0].any(), path


X, FILTER = torch.randn(1, 4, 4, 2), torch.randn(4, 3, 2, 2)
ROUTING = torch.randn(1, 2, 2)
HALF = torch.randn(1, 4, 3, 2)
WRONG = {
    'x': [
        (spectral_filter, x, FILTER)
        for x in (None, [1], X.long(), X + 0j, X[0], X[:, :0], X[..., :0])
    ],
    'filter': [
        *[
            (spectral_filter, X, f)
            for f in (None, FILTER.long(), FILTER[:3], FILTER[..., :1])
        ],
        (spectral_filter, X, FILTER[:, :, :1]),
        *[
            (resize_filter, f, (4, 4), (5, 5))
            for f in (None, FILTER + 0j, FILTER[..., 0, 0], FILTER[:, :, :0])
        ],
        (resize_filter, FILTER, (4, 6), (5, 5)),
        (project_hermitian, FILTER, (5, 4)),
    ],
    'basis': [(dynamic_spectral_filter, X, ROUTING, FILTER[1:])],
    'routing': [
        (dynamic_spectral_filter, X, r, FILTER)
        for r in (None, ROUTING.int(), ROUTING[:, 1:], ROUTING[0])
    ],
    'new_grid': [
        (resize_filter, FILTER, (4, 4), grid)
        for grid in (None, 5, 'ab', (5,), (5, 5, 5), (0, 5), (5.0, 5), (True,))
    ],
    'old_grid': [(resize_filter, FILTER, (0, 4), (5, 5))],
    'mode': [(resize_filter, FILTER, (4, 4), (5, 5), 'nearest')],
    'real': [(irfft2, r, HALF, 4) for r in (None, HALF[0], HALF[:, :0])],
    'imag': [(irfft2, HALF, i, 4) for i in (None, HALF[:, 1:])],
    'columns': [(irfft2, HALF, HALF, n) for n in (-1, 0, 3, 6)],
}


@pytest.mark.parametrize(
    ('name', 'call'),
    [(n, call) for n, calls in WRONG.items() for call in calls],
)
def test_a_wrong_argument_is_named(name, call):
    function, *args = call
    with pytest.raises((ValueError, TypeError), match=name):
        function(*args)
