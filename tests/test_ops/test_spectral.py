# Copyright (c) mmfft authors. All rights reserved.
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle.filters import filtered_without_fft, mixture

from mmfft.ops import (
    PATHS,
    dynamic_spectral_filter,
    half_spectrum_shape,
    irfft2,
    project_hermitian,
    rfft2,
    spectral_filter,
    use_path,
)

sizes = st.integers(1, 9)
every_path = pytest.mark.parametrize('path', PATHS)


def random_filter(grid, channels, generator, dtype=torch.float64):
    return torch.randn(
        *half_spectrum_shape(grid),
        channels,
        2,
        generator=generator,
        dtype=dtype,
    )


@every_path
@settings(max_examples=40, deadline=None)
@given(h=sizes, w=sizes, b=st.integers(1, 3), c=st.integers(1, 4))
def test_static_filter_is_the_papers_formula(path, h, w, b, c):
    g = torch.Generator().manual_seed(h * 10 + w)
    x = torch.randn(b, h, w, c, generator=g, dtype=torch.float64)
    weight = random_filter((h, w), c, g)
    expected = filtered_without_fft(x, torch.view_as_complex(weight))
    with use_path(path):
        torch.testing.assert_close(spectral_filter(x, weight), expected)


@every_path
@settings(max_examples=40, deadline=None)
@given(h=sizes, w=sizes, b=st.integers(1, 3), n=st.integers(1, 4))
def test_dynamic_filter_is_the_papers_formula(path, h, w, b, n):
    g = torch.Generator().manual_seed(h * 10 + w)
    c = 3
    x = torch.randn(b, h, w, c, generator=g, dtype=torch.float64)
    basis = random_filter((h, w), n, g)
    routing = torch.rand(b, n, c, generator=g, dtype=torch.float64)
    kernel = mixture(routing, torch.view_as_complex(basis))
    with use_path(path):
        y = dynamic_spectral_filter(x, routing, basis)
    torch.testing.assert_close(y, filtered_without_fft(x, kernel))


@every_path
@pytest.mark.parametrize('grid', [(4, 6), (5, 3), (1, 1), (2, 1), (1, 4)])
def test_gradients(grid, path):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(2, *grid, 2, generator=g, dtype=torch.float64)
    weight = random_filter(grid, 2, g)
    routing = torch.rand(2, 2, 2, generator=g, dtype=torch.float64)
    for tensor in (x, weight, routing):
        tensor.requires_grad_()
    with use_path(path):
        assert torch.autograd.gradcheck(spectral_filter, (x, weight))
        assert torch.autograd.gradcheck(
            dynamic_spectral_filter, (x, routing, weight)
        )


@every_path
@pytest.mark.parametrize('grid', [(4, 6), (5, 3), (1, 1), (2, 1), (1, 4)])
def test_transforms_in_real_numbers(grid, path):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(2, *grid, 3, generator=g, dtype=torch.float64)
    half = half_spectrum_shape(grid)
    parts = torch.randn(2, 2, *half, 3, generator=g, dtype=torch.float64)
    inputs = [x.requires_grad_(), *(p.requires_grad_() for p in parts)]
    with use_path(path):
        expected = torch.fft.rfft2(x, dim=(1, 2), norm='ortho')
        torch.testing.assert_close(torch.complex(*rfft2(x)), expected)
        torch.testing.assert_close(
            irfft2(*inputs[1:], grid[1]),
            torch.fft.irfft2(
                torch.complex(*inputs[1:]), s=grid, dim=(1, 2), norm='ortho'
            ),
        )
        assert torch.autograd.gradcheck(rfft2, inputs[:1])
        assert torch.autograd.gradcheck(
            lambda *parts: irfft2(*parts, grid[1]), inputs[1:]
        )


@pytest.mark.parametrize('path', ['matmul', 'export'])
@pytest.mark.parametrize('grid', [(200, 301), (56, 57)])
def test_matrix_products_are_as_exact_as_the_fft(grid, path):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(1, *grid, 2, generator=g)
    weight = random_filter(grid, 2, g, torch.float32)
    expected = spectral_filter(x.double(), weight.double())
    with use_path(path):
        y = spectral_filter(x, weight)
    assert (y - expected).abs().max() < 2e-6 * expected.abs().max()


@pytest.mark.parametrize('grid', [(4, 6), (5, 3), (1, 1), (2, 2), (3, 2)])
def test_projection_keeps_the_output_and_is_idempotent(grid):
    g = torch.Generator().manual_seed(0)
    weight = random_filter(grid, 3, g)
    projected = project_hermitian(weight, grid)
    torch.testing.assert_close(project_hermitian(projected, grid), projected)
    # What the CPU transform ignores is what is projected away.
    for half in (weight, projected):
        kernel = torch.fft.irfft2(
            torch.view_as_complex(half), s=grid, dim=(0, 1)
        )
        whole = torch.fft.rfft2(kernel, dim=(0, 1))
        torch.testing.assert_close(
            torch.view_as_real(whole), projected, atol=1e-12, rtol=0
        )


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_comes_back_in_its_own_dtype(dtype):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(2, 7, 6, 3, generator=g)
    weight = random_filter((7, 6), 3, g, torch.float32)
    routing = torch.rand(2, 3, 3, generator=g)
    y = spectral_filter(x.to(dtype), weight.to(dtype))
    assert y.dtype == dtype
    expected = spectral_filter(x, weight)
    tolerance = 2 * torch.finfo(dtype).eps * expected.abs().max().item()
    torch.testing.assert_close(y.float(), expected, atol=4 * tolerance, rtol=0)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        y = dynamic_spectral_filter(x, routing, weight)
    torch.testing.assert_close(
        y, dynamic_spectral_filter(x, routing, weight), atol=0, rtol=0
    )


def test_misfits_are_named():
    x = torch.randn(1, 4, 6, 2)
    with pytest.raises(ValueError, match=r'\(4, 4, channels, 2\).*4x6'):
        spectral_filter(x, torch.randn(4, 3, 2, 2))
    with pytest.raises(ValueError, match='3 channels but x has 2'):
        spectral_filter(x, torch.randn(4, 4, 3, 2))
    with pytest.raises(ValueError, match=r'\(B, H, W, C\)'):
        spectral_filter(x[0], torch.randn(4, 4, 2, 2))
    with pytest.raises(ValueError, match=r'\(B, N, C\) = \(1, 5, 2\)'):
        dynamic_spectral_filter(
            x, torch.rand(1, 4, 2), torch.randn(4, 4, 5, 2)
        )
    with pytest.raises(TypeError, match='x must be .* got torch.int64'):
        rfft2(x.long())
    real, imag = rfft2(x)
    with pytest.raises(ValueError, match='imag must have the shape of real'):
        irfft2(real, imag[:, :-1], 6)
    for columns in (0, 5, 8):
        with pytest.raises(ValueError, match=f'columns={columns} does not'):
            irfft2(real, imag, columns)
