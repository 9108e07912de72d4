# Copyright (c) mmfft authors. All rights reserved.
"""What PyTorch expects of registered operators."""

import pytest
import torch

from mmfft.ops import (
    FILTER_RESIZE_MODES,
    composed,
    conv2d_to_channels_last,
    dynamic_spectral_filter,
    half_spectrum_shape,
    irfft2,
    operators,
    resize_filter,
    rfft2,
    spectral_filter,
    use_path,
)
from mmfft.ops.resize import _resize_operator

GRIDS = [(4, 6), (5, 7)]


def inputs(grid, batch=3, channels=4, filters=2):
    g = torch.Generator().manual_seed(0)

    def tensor(*shape):
        return torch.randn(*shape, generator=g).requires_grad_()

    half = half_spectrum_shape(grid)
    return dict(
        x=tensor(batch, *grid, channels),
        routing=tensor(batch, filters, channels),
        basis=tensor(*half, filters, 2),
        filter=tensor(*half, channels, 2),
        parts=tensor(batch, grid[0], 2, half[1], channels),
    )


@pytest.mark.parametrize('path', ['fft', 'matmul'])
@pytest.mark.parametrize('grid', GRIDS)
def test_opcheck(grid, path):
    t = inputs(grid)
    x, routing, basis, filter = (
        t[name] for name in ('x', 'routing', 'basis', 'filter')
    )
    with use_path(path):
        for op, args in [
            (operators.spectral_filter, (x, filter)),
            (operators.dynamic_spectral_filter, (x, routing, basis)),
            (operators.rfft2, (x,)),
            (operators.irfft2, (t['parts'], grid[1])),
        ]:
            torch.library.opcheck(op, args)


@pytest.mark.parametrize('path', ['fft', 'matmul'])
@pytest.mark.parametrize('grid', GRIDS)
def test_gradient_of_a_sum(grid, path):
    """All its numbers are one in memory, which some FFT libraries refuse."""
    t = inputs(grid)
    x = t['x'].detach().requires_grad_()
    with use_path(path):
        y = operators.spectral_filter(x, t['filter'])
        (expected,) = torch.autograd.grad(y, x, torch.ones_like(y))
        y = operators.spectral_filter(x, t['filter'])
        (grad,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(grad, expected)


@pytest.mark.parametrize('mode', FILTER_RESIZE_MODES)
def test_opcheck_resize(mode):
    basis = inputs((5, 6))['basis']
    torch.library.opcheck(_resize_operator, (basis, (5, 6), (8, 9), mode))


@pytest.mark.parametrize('bias', [True, False])
@pytest.mark.parametrize('needs_x', [True, False])
def test_conv2d_to_channels_last(bias, needs_x):
    g = torch.Generator().manual_seed(0)
    conv = torch.nn.Conv2d(4, 8, 3, (2, 1), (1, 2), groups=2, bias=bias)
    # As tokens come, and as an image comes.
    tokens = torch.randn(2, 7, 6, 4, generator=g).permute(0, 3, 1, 2)
    for x in (tokens, tokens.contiguous()):
        x = x.detach().requires_grad_(needs_x)
        args = (x, conv.weight, conv.bias, (2, 1), (1, 2), 2)
        torch.library.opcheck(conv2d_to_channels_last, args)
        y, expected = conv2d_to_channels_last(*args), conv(x)
        torch.testing.assert_close(y, expected.permute(0, 2, 3, 1))
        wanted = [t for t in args[:3] if t is not None and t.requires_grad]
        weights = torch.randn(y.shape, generator=g)
        for ours, theirs in zip(
            torch.autograd.grad((y * weights).sum(), wanted),
            torch.autograd.grad(
                (expected.permute(0, 2, 3, 1) * weights).sum(), wanted
            ),
        ):
            torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize('path', ['fft', 'matmul'])
def test_images_in_chunks(path, monkeypatch):
    t = inputs((5, 6), batch=5)

    def results():
        y = dynamic_spectral_filter(t['x'], t['routing'], t['basis'])
        z = spectral_filter(t['x'], t['filter'])
        grads = torch.autograd.grad(
            (y * z).square().sum(), list(t.values())[:4]
        )
        return y, z, *grads

    with use_path(path):
        whole = results()
        monkeypatch.setattr(composed, '_CPU_CHUNK', 2 * t['x'][0].numel())
        for a, b in zip(results(), whole):
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize('path', ['fft', 'matmul'])
def test_any_memory_layout(path):
    t = inputs((5, 6))
    with use_path(path):
        expected = dynamic_spectral_filter(t['x'], t['routing'], t['basis'])
        strided = [
            v.detach().movedim(0, -1).contiguous().movedim(-1, 0)
            for v in (t['x'], t['routing'], t['basis'])
        ]
        y = dynamic_spectral_filter(*strided)
        assert y.is_contiguous()
        torch.testing.assert_close(y, expected)


def test_backward_is_left_the_arguments_alone():
    t = inputs((6, 6), batch=4)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: kept.append(tensor.data_ptr()) or tensor, lambda t: t
    ):
        dynamic_spectral_filter(t['x'], t['routing'], t['basis'])
        spectral_filter(t['x'], t['filter'])
    names = ('x', 'routing', 'basis', 'filter')
    assert set(kept) == {t[name].data_ptr() for name in names}


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_gradients(dtype):
    t = inputs((5, 6))
    names = ('x', 'routing', 'basis')
    exact = [t[name] for name in names]
    half = [v.detach().to(dtype).requires_grad_() for v in exact]
    grads = [
        torch.autograd.grad(dynamic_spectral_filter(*args).sum(), args)
        for args in (half, exact)
    ]
    for ours, theirs in zip(*grads):
        assert ours.dtype == dtype
        error = (ours.float() - theirs).abs().max() / theirs.abs().max()
        assert error < 4 * torch.finfo(dtype).eps


def test_autocast_changes_nothing_inside():
    t = inputs((5, 6))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        real, imag = rfft2(t['x'])
        y = irfft2(real, imag, 6)
        resized = resize_filter(t['basis'], (5, 6), (7, 9), 'kernel')
    assert y.dtype == resized.dtype == torch.float32
    torch.testing.assert_close(y, t['x'])
    torch.testing.assert_close(
        resized, resize_filter(t['basis'], (5, 6), (7, 9), 'kernel')
    )
