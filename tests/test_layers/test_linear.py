# Copyright (c) mmfft authors. All rights reserved.
"""The linear layer as a convolution: nothing but its time is another."""

import copy
from contextlib import contextmanager, nullcontext

import pytest
import torch
from torch import nn

from mmfft.layers import Linear, mlp
from mmfft.ops import use_path

LARGE = (2, 24, 25, 6)  # 1,200 points


@pytest.fixture(autouse=True)
def any_processor(monkeypatch):
    """Choose as where it pays, whatever these tests run on."""
    monkeypatch.setattr('mmfft.ops.dispatch._HAS_FAST_ONEDNN', True)


def is_convolved(layer, x):
    """Whether a convolution is what autograd has recorded."""
    nodes, found = [layer(x).sum().grad_fn], False
    while nodes:
        node = nodes.pop()
        found |= 'Convolution' in node.name()
        nodes += [child for child, _ in node.next_functions if child]
    return found


@pytest.mark.parametrize('bias', [True, False])
@pytest.mark.parametrize(
    'shape',
    [LARGE, (0, 40, 40, 6), (1, 1, 1100, 6), (1100, 1, 1, 6), (1, 33, 32, 1)],
    ids=str,
)
def test_results_and_gradients_are_those_of_matrix_products(shape, bias):
    torch.manual_seed(0)
    layer = Linear(shape[-1], 5, bias=bias)
    exact = nn.Linear(shape[-1], 5, bias=bias).double()
    exact.load_state_dict(layer.state_dict())
    x = torch.randn(shape, requires_grad=True)
    x64 = x.detach().double().requires_grad_()
    grad = torch.randn(*shape[:-1], 5)
    assert is_convolved(layer, x) == (len(x) > 0)
    y, y64 = layer(x), exact(x64)
    assert y.is_contiguous()
    inputs = [x, *layer.parameters()], [x64, *exact.parameters()]
    ours = torch.autograd.grad(y, inputs[0], grad)
    theirs = torch.autograd.grad(y64, inputs[1], grad.double())
    for a, b in zip((y, *ours), (y64, *theirs)):
        assert a.shape == b.shape and a.is_contiguous()
        torch.testing.assert_close(a.double(), b, atol=1e-4, rtol=1e-5)


def test_maps_that_are_not_contiguous():
    torch.manual_seed(0)
    layer = Linear(6, 5)
    x = torch.randn(2, 6, 24, 25).permute(0, 2, 3, 1)
    for view in (
        x,
        x.flip(1)[:, :, ::1],
        torch.randn(2, 24, 50, 6)[:, :, ::2],
    ):
        expected = view @ layer.weight.T + layer.bias
        torch.testing.assert_close(layer(view), expected)


@contextmanager
def without_onednn():
    before = torch.backends.mkldnn.enabled
    torch.backends.mkldnn.set_flags(False)
    try:
        yield
    finally:
        torch.backends.mkldnn.set_flags(before)


@pytest.mark.parametrize(
    'shape, dtype, context, expected',
    [
        (LARGE, torch.float32, nullcontext, True),
        ((1, 31, 33, 6), torch.float32, nullcontext, False),  # 1,023 points
        ((1, 32, 32, 6), torch.float32, nullcontext, True),
        ((2000, 6), torch.float32, nullcontext, False),
        ((2, 1000, 6), torch.float32, nullcontext, False),
        (LARGE, torch.float64, nullcontext, False),
        (LARGE, torch.bfloat16, nullcontext, False),
        (LARGE, torch.float32, lambda: torch.autocast('cpu'), False),
        (LARGE, torch.float32, without_onednn, False),
        (LARGE, torch.float32, lambda: use_path('export'), False),
    ],
)
def test_where_it_is_a_convolution(shape, dtype, context, expected):
    layer = Linear(6, 5).to(dtype)
    x = torch.randn(shape, dtype=dtype)
    with context():
        assert is_convolved(layer, x) == expected


def test_other_processors_multiply(monkeypatch):
    monkeypatch.setattr('mmfft.ops.dispatch._HAS_FAST_ONEDNN', False)
    assert not is_convolved(Linear(6, 5), torch.randn(LARGE))


def test_a_traced_graph_holds_a_linear_layer():
    layer = Linear(6, 5).eval()
    traced = torch.jit.trace(layer, torch.randn(LARGE))
    kinds = {node.kind() for node in traced.inlined_graph.nodes()}
    assert 'aten::linear' in kinds and 'aten::_convolution' not in kinds


def test_it_is_a_linear_layer_to_others():
    """In the eyes of initializers, LoRA, pruning and copies."""
    layer = Linear(6, 5)
    assert isinstance(layer, nn.Linear) and type(layer).__name__ == 'Linear'
    assert set(layer.state_dict()) == {'weight', 'bias'}
    x = torch.randn(LARGE)
    torch.testing.assert_close(copy.deepcopy(layer)(x), layer(x))
    nn.utils.parametrizations.weight_norm(layer)
    torch.testing.assert_close(layer(x), x @ layer.weight.T + layer.bias)


def test_mlp():
    module = mlp(6, 12, 4, nn.GELU, bias=True).double()
    x = torch.randn(2, 3, 5, 6, dtype=torch.float64)
    fc1, fc2 = module.fc1, module.fc2
    hidden = nn.functional.gelu(x @ fc1.weight.T + fc1.bias)
    torch.testing.assert_close(module(x), hidden @ fc2.weight.T + fc2.bias)
    names = ['fc1.weight', 'fc1.bias', 'fc2.weight', 'fc2.bias']
    assert list(module.state_dict()) == names
    assert list(mlp(6, 12, 4, nn.GELU).state_dict()) == names[::2]
