# Copyright (c) mmfft authors. All rights reserved.
import pytest
import torch
import torch.nn.functional as F
from device_only import DEVICES, device_only, without_values
from hypothesis import given, settings
from hypothesis import strategies as st

from mmfft.ops import (
    FILTER_RESIZE_MODES,
    half_spectrum_shape,
    project_hermitian,
    resize_filter,
    spectral_filter,
)

sizes = st.integers(1, 12)
grids = st.tuples(sizes, sizes)


def transfer(kernel):
    """Half spectrum ``(H, W // 2 + 1, 1, 2)`` of a spatial kernel."""
    return torch.view_as_real(torch.fft.rfft2(kernel))[:, :, None]


def kernel_of(weight, grid):
    return torch.fft.irfft2(
        torch.view_as_complex(weight[:, :, 0].contiguous()), s=grid
    )


def random_kernel(grid, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(grid, generator=g, dtype=torch.float64)


def enlarge(x, grid):
    """Band-limited enlarging by its definition, harmonic by harmonic."""
    h, w = x.shape
    spectrum = torch.fft.fft2(x)
    rows = torch.arange(grid[0], dtype=torch.float64) / grid[0]
    columns = torch.arange(grid[1], dtype=torch.float64) / grid[1]

    def waves(n, at):
        # A Nyquist harmonic is shared by both signs, i.e. a cosine.
        waves = []
        for k in range(n):
            signed = k - n if k > n / 2 else k
            phase = 2j * torch.pi * signed * at
            wave = torch.exp(phase)
            waves.append(wave.real + 0j if 2 * k == n else wave)
        return torch.stack(waves)

    return torch.einsum(
        'ij,ik,jl->kl', spectrum, waves(h, rows), waves(w, columns)
    ).real / (h * w)


def test_bicubic_is_the_published_resize():
    # rows in FFT order, corners aligned, parts apart: written out for one
    # target entry by Keys' kernel (a = -0.75).
    g = torch.Generator().manual_seed(0)
    weight = torch.randn(14, 8, 3, 2, generator=g)
    out = resize_filter(weight, (14, 14), (25, 38), 'bicubic')
    assert out.shape == (25, 20, 3, 2)
    row, column = 5, 7
    at = (row * 13 / 24, column * 7 / 19)

    def cubic(t, a=-0.75):
        t = abs(t)
        if t <= 1:
            return (a + 2) * t**3 - (a + 3) * t**2 + 1
        return a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a if t < 2 else 0

    expected = sum(
        weight[i, j] * cubic(at[0] - i) * cubic(at[1] - j)
        for i in range(14)
        for j in range(8)
    )
    torch.testing.assert_close(out[row, column], expected)
    # The mean of the features is kept exactly.
    torch.testing.assert_close(out[0, 0], weight[0, 0])


def by_operator(weight, grid, mode):
    """PyTorch's interpolation of a half spectrum as it is stored."""
    planes = weight.flatten(2).permute(2, 0, 1)[None]
    shape = half_spectrum_shape(grid)
    planes = F.interpolate(planes, shape, mode=mode, align_corners=True)
    return planes[0].permute(1, 2, 0).reshape(*shape, *weight.shape[2:])


@settings(max_examples=80, deadline=None)
@given(old=grids, new=grids, mode=st.sampled_from(['bicubic', 'bilinear']))
def test_interpolation_is_of_the_stored_half_spectrum(old, new, mode):
    # In FFT order, parts apart, corners aligned; tiny grids included.
    g = torch.Generator().manual_seed(0)
    shape = (*half_spectrum_shape(old), 3, 2)
    weight = torch.randn(shape, generator=g, dtype=torch.float64)
    weight.requires_grad_()
    if old == new:
        return
    expected = by_operator(weight, new, mode)
    out = resize_filter(weight, old, new, mode)
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(out[0, 0], weight[0, 0])
    grad = torch.randn(out.shape, generator=g, dtype=torch.float64)
    torch.testing.assert_close(
        *(torch.autograd.grad(y, weight, grad)[0] for y in (out, expected))
    )


@pytest.mark.parametrize('mode', FILTER_RESIZE_MODES)
def test_compiled(mode):
    @torch.compile(backend='aot_eager', fullgraph=True)
    def resize(weight, x):
        return resize_filter(weight, (6, 7), tuple(x.shape[1:3]), mode)

    weight = torch.randn(6, 4, 3, 2, requires_grad=True)
    # The third size is the first that is a symbol of one graph.
    for grid in ((9, 5), (4, 12), (11, 8)):
        out = resize(weight, torch.empty(1, *grid, 3))
        expected = resize_filter(weight, (6, 7), grid, mode)
        torch.testing.assert_close(out, expected)
        grad = torch.randn_like(out)
        torch.testing.assert_close(
            *(torch.autograd.grad(y, weight, grad)[0] for y in (out, expected))
        )


@settings(max_examples=80, deadline=None)
@given(old=grids, grow=st.tuples(st.integers(0, 8), st.integers(0, 8)))
def test_kernel_mode_keeps_every_tap(old, grow):
    new = (old[0] + grow[0], old[1] + grow[1])
    kernel = random_kernel(old)
    resized = kernel_of(
        resize_filter(transfer(kernel), old, new, 'kernel'), new
    )
    # Tap by tap at its signed offset; one half way round is shared out.
    expected = torch.zeros(new, dtype=torch.float64)

    def places(i, n, m):
        signed = i - n if i > n / 2 else i
        if 2 * i == n and m > n:
            return [(i, 0.5), (-i % m, 0.5)]
        return [(signed % m, 1.0)]

    for i in range(old[0]):
        for j in range(old[1]):
            for row, u in places(i, old[0], new[0]):
                for column, v in places(j, old[1], new[1]):
                    expected[row, column] += u * v * kernel[i, j]
    torch.testing.assert_close(resized, expected)
    assert resized.sum().item() == pytest.approx(kernel.sum().item())


def test_kernel_mode_is_the_same_circular_convolution():
    taps = random_kernel((3, 3))
    small = torch.zeros(7, 6, dtype=torch.float64)
    small[:3, :3] = taps
    weight = transfer(small.roll((-1, -1), (0, 1)))
    x = random_kernel((11, 16), seed=1)
    resized = resize_filter(weight, (7, 6), (11, 16), 'kernel')
    out = spectral_filter(x[None, :, :, None], resized)[0, :, :, 0]
    padded = F.pad(x[None, None], (1, 1, 1, 1), mode='circular')
    expected = F.conv2d(padded, taps.flip(0, 1)[None, None])[0, 0]
    torch.testing.assert_close(out, expected)


@settings(max_examples=80, deadline=None)
@given(old=grids, grow=st.tuples(st.integers(0, 8), st.integers(0, 8)))
def test_spectrum_mode_commutes_with_enlarging(old, grow):
    new = (old[0] + grow[0], old[1] + grow[1])
    weight, x = transfer(random_kernel(old)), random_kernel(old, seed=1)

    def apply(image, weight):
        return spectral_filter(image[None, :, :, None], weight)[0, :, :, 0]

    resized = resize_filter(weight, old, new, 'spectrum')
    torch.testing.assert_close(
        apply(enlarge(x, new), resized), enlarge(apply(x, weight), new)
    )


@settings(max_examples=80, deadline=None)
@given(
    old=grids,
    grow=st.tuples(st.integers(0, 8), st.integers(0, 8)),
    mode=st.sampled_from(['kernel', 'spectrum']),
)
def test_growing_and_shrinking_again_is_exact(old, grow, mode):
    new = (old[0] + grow[0], old[1] + grow[1])
    weight = transfer(random_kernel(old))
    there = resize_filter(weight, old, new, mode)
    torch.testing.assert_close(resize_filter(there, new, old, mode), weight)


@settings(max_examples=80, deadline=None)
@given(old=grids, new=grids, mode=st.sampled_from(['kernel', 'spectrum']))
def test_exact_modes_give_hermitian_filters(old, new, mode):
    g = torch.Generator().manual_seed(0)
    weight = torch.randn(
        *half_spectrum_shape(old), 2, 2, generator=g, dtype=torch.float64
    )
    if old == new:
        return
    out = resize_filter(weight, old, new, mode)
    assert out.shape == (*half_spectrum_shape(new), 2, 2)
    torch.testing.assert_close(project_hermitian(out, new), out)


@pytest.mark.parametrize('mode', FILTER_RESIZE_MODES)
@pytest.mark.parametrize('old', [(4, 6), (5, 3), (1, 1)])
@pytest.mark.parametrize('new', [(4, 6), (7, 8), (2, 3), (1, 1)])
def test_zero_frequency_gradient_and_dtype(mode, old, new):
    weight = transfer(random_kernel(old)).requires_grad_()

    def resize(w):
        return resize_filter(w, old, new, mode)

    assert torch.autograd.gradcheck(resize, (weight,))
    if mode != 'kernel' or (new[0] >= old[0] and new[1] >= old[1]):
        torch.testing.assert_close(resize(weight)[0, 0], weight[0, 0])
    half = resize(weight.detach().to(torch.bfloat16))
    assert half.dtype == torch.bfloat16


def test_the_same_grid_is_the_same_tensor():
    weight = torch.randn(4, 4, 2, 2)
    for mode in FILTER_RESIZE_MODES:
        assert resize_filter(weight, (4, 6), (4, 6), mode) is weight


def test_misuse_is_named():
    weight = torch.randn(4, 4, 2, 2)
    with pytest.raises(ValueError, match="bicubic.*got 'nearest'"):
        resize_filter(weight, (4, 6), (8, 8), 'nearest')
    with pytest.raises(ValueError, match=r'\(4, 8\).*\(4, 5\)'):
        resize_filter(weight, (4, 8), (8, 8))
    with pytest.raises(ValueError, match='at least one row'):
        resize_filter(weight, (4, 6), (0, 8))


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('mode', FILTER_RESIZE_MODES)
def test_no_gpu_is_waited_for(mode, device):
    with without_values(device), device_only() as calls:
        filter = torch.empty(14, 8, 3, 2, device=device)
        grids = (14, 14), (25, 38)
        out = torch.ops.mmfft.resize_filter(filter, *grids, mode)
        grad = torch.ops.mmfft.resize_filter_backward(out, *grids, mode)
    assert grad.shape == filter.shape and grad.device == filter.device
    # Of CUDA's operators, its gradient is not deterministic.
    assert not any('upsample' in name for name in calls)
