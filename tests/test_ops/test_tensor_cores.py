# Copyright (c) mmfft authors. All rights reserved.
"""What tensor cores would make of the transforms by matrix products.

They round the factors of a product, not its sums. So do these tests, on any
machine; docs/costs.md states what they bound.
"""

from types import SimpleNamespace

import pytest
import torch

from mmfft.ops import (
    dynamic_spectral_filter,
    half_spectrum_shape,
    matmul,
    use_path,
)


def tf32(x):
    """Ten bits of fraction, rounded to the nearest."""
    bits = x.contiguous().view(torch.int32)
    return ((bits + 0x1000) & ~0x1FFF).view(torch.float32)


def bfloat16(x):
    return x.bfloat16().float()


def in_parts(x):
    """Two parts in TF32 keep 21 bits: what Triton's tf32x3 multiplies."""
    return tf32(x) + tf32(x - tf32(x))


@pytest.mark.parametrize(
    'rounded, bound',
    [(tf32, 1e-3), (bfloat16, 8e-3), (in_parts, 1e-6)],
)
@pytest.mark.parametrize('size', [7, 14, 28, 56, 64])
def test_error_of_rounded_factors(monkeypatch, rounded, bound, size):
    torch.manual_seed(0)
    tensors = (
        torch.randn(2, size, size, 16),
        torch.rand(2, 4, 16),
        torch.randn(*half_spectrum_shape((size, size)), 4, 2),
    )
    grad = torch.randn_like(tensors[0])

    def results(tensors, grad):
        tensors = [t.clone().requires_grad_() for t in tensors]
        y = dynamic_spectral_filter(*tensors)
        y.backward(grad)
        return [y.detach(), *(t.grad for t in tensors)]

    exact = results([t.double() for t in tensors], grad.double())
    products = []

    def bmm(a, b, out=None):
        products.append(a.shape)
        product = torch.ops.aten.bmm(rounded(a), rounded(b))
        return product if out is None else out.copy_(product)

    with use_path('matmul'), monkeypatch.context() as patch:
        # For this module only, not for all that multiplies.
        rounding = SimpleNamespace(**{**vars(torch), 'bmm': bmm})
        patch.setattr(matmul, 'torch', rounding)
        found = results(tensors, grad)
    assert len(products) >= 5 * 4
    for ours, theirs in zip(found, exact):
        assert (ours - theirs).norm() <= bound * theirs.norm()
