# Copyright (c) mmfft authors. All rights reserved.
"""What is asked of Apple's GPUs, where a CPU is taken for one.

PyTorch's FFT is wrong there for odd widths (pytorch/pytorch#126649), float64
does not exist, and products into memory with gaps were reported not to arrive
(pytorch/pytorch#104832).
"""

import pytest
import torch
from device_only import LookInside
from oracle.filters import filtered, mixture
from torch.utils._pytree import tree_leaves

from mmfft.layers import DynamicFilter, GlobalFilter
from mmfft.models import CDFFormer
from mmfft.ops import (
    FILTER_RESIZE_MODES,
    chosen_path,
    dynamic_spectral_filter,
    half_spectrum_shape,
    matmul,
    spectral_filter,
    use_path,
)

GRIDS = [(1, 1), (7, 7), (14, 13), (6, 8), (90, 101), (1023, 3)]


class _OnlyWhatIsThere(LookInside):
    """Refuses what is missing or wrong."""

    def call(self, name, func, args, kwargs):
        assert 'fft' not in name, name
        out = kwargs.get('out')
        if name in ('aten::bmm', 'aten::mm') and out is not None:
            assert out.is_contiguous(), f'{name} into memory with gaps'
        out = func(*args, **kwargs)
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor):
                assert leaf.dtype != torch.float64, name
                assert not leaf.dtype.is_complex, name
        return out


@pytest.fixture
def apple(monkeypatch):
    monkeypatch.setattr(matmul, 'APPLE', 'cpu')
    monkeypatch.setattr(matmul, '_kept_tables', matmul._make_tables)
    return _OnlyWhatIsThere()


@pytest.mark.parametrize('is_dynamic', [True, False])
@pytest.mark.parametrize('grid', GRIDS)
def test_filters_and_gradients(grid, is_dynamic, apple):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(2, *grid, 3, generator=g)
    filter = torch.randn(*half_spectrum_shape(grid), 3, 2, generator=g)
    inputs = [x, filter]
    if is_dynamic:
        inputs.insert(1, torch.randn(2, 3, 3, generator=g).softmax(1))
    exact = [t.double().requires_grad_() for t in inputs]
    kernel = torch.view_as_complex(exact[-1])
    kernel = mixture(exact[1], kernel) if is_dynamic else kernel
    expected = filtered(exact[0], kernel)
    weights = torch.randn(x.shape, generator=g)
    grads = torch.autograd.grad((expected * weights).sum(), exact)

    inputs = [t.requires_grad_() for t in inputs]
    function = dynamic_spectral_filter if is_dynamic else spectral_filter
    assert chosen_path(grid, x.device) == 'matmul'
    with apple:
        y = function(*inputs)
        found = torch.autograd.grad((y * weights).sum(), inputs)
    for one, other in zip((y, *found), (expected, *grads)):
        error = (one - other).norm() / other.norm()
        # Its tables are of float32, too.
        assert error < 2e-6


@pytest.mark.parametrize('boundary', ['circular', 'zero', 'reflect'])
@pytest.mark.parametrize('mode', FILTER_RESIZE_MODES)
def test_layers_on_another_grid(mode, boundary, apple):
    options = dict(filter_resize=mode, boundary=boundary)
    x = torch.randn(1, 9, 11, 4)
    for layer in (
        GlobalFilter(4, 7, **options),
        DynamicFilter(4, 7, **options),
    ):
        with apple:
            out = layer(x)
            out.sum().backward()
        torch.testing.assert_close(out, layer.double()(x.double()).float())


def test_models(apple):
    arch = dict(embed_dims=[8] * 4, depths=[1] * 4)
    for mixers in (None, ['AFNO2D'] * 4):
        model = CDFFormer(arch, mixers, img_size=60)
        with apple:
            out = model(torch.randn(1, 3, 75, 52))[-1]
            out.sum().backward()
        assert out.isfinite().all()


def test_the_fft_can_be_forced(apple):
    x, filter = torch.randn(1, 5, 5, 2), torch.randn(5, 3, 2, 2)
    with apple, use_path('fft'), pytest.raises(AssertionError, match='fft'):
        spectral_filter(x, filter)
