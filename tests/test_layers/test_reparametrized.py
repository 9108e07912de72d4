# Copyright (c) mmfft authors. All rights reserved.
"""Weights that are computed from others, by PyTorch's own utilities.

Such a weight is a new tensor each time it is read, for which memory is used
again: a filter that is kept for a grid must never be that of an older one.
"""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from mmfft.layers import DynamicFilter, ExpandedGlobalFilter, GlobalFilter

STORED = (5, 6)
GRIDS = [STORED, (8, 9), (3, 4)]


class Squared(nn.Module):
    def forward(self, weight):
        return weight.square()


def weight_norm(module):
    parametrizations.weight_norm(module, 'weight')


def spectral_norm(module):
    parametrizations.spectral_norm(module, 'weight')


def squared(module):
    parametrize.register_parametrization(module, 'weight', Squared())


def pruned(module):
    prune.random_unstructured(module, 'weight', amount=0.5)


MIXERS = {
    'dynamic': (lambda: DynamicFilter(8, STORED), ('basis', 'pwconv1')),
    'expanded': (
        lambda: ExpandedGlobalFilter(8, STORED),
        ('filter', 'pwconv2'),
    ),
    'global': (lambda: GlobalFilter(8, STORED), ('filter',)),
}
CASES = [
    pytest.param(make, part, change, id=f'{name}-{part}-{change.__name__}')
    for name, (make, parts) in MIXERS.items()
    for part in parts
    for change in (weight_norm, spectral_norm, squared, pruned)
]


def plain(make, mixer, part):
    """The same mixer, with its present weight stored as it is."""
    other = make().train(mixer.training)
    state = {
        name: value
        for name, value in mixer.state_dict().items()
        if name in other.state_dict()
    }
    weight = mixer.get_submodule(part).weight.detach()
    other.load_state_dict({**state, f'{part}.weight': weight})
    return other


@pytest.mark.parametrize('make, part, change', CASES)
def test_forward_and_backward_on_every_grid(make, part, change):
    torch.manual_seed(0)
    mixer = make().eval()
    change(mixer.get_submodule(part))
    for grid in GRIDS:
        x = torch.randn(2, *grid, 8, requires_grad=True)
        y = mixer(x)
        expected = plain(make, mixer, part)(x)
        torch.testing.assert_close(y, expected)
        leaves = [x, *mixer.get_submodule(part).parameters()]
        grad, *of_weights = torch.autograd.grad(y.square().sum(), leaves)
        wanted = torch.autograd.grad(expected.square().sum(), x)[0]
        torch.testing.assert_close(grad, wanted, atol=1e-4, rtol=1e-4)
        assert all(g.abs().max() > 0 for g in of_weights)


@pytest.mark.parametrize('make, part, change', CASES)
@pytest.mark.parametrize('mode', [torch.no_grad, torch.inference_mode])
def test_what_is_kept_is_never_stale(make, part, change, mode):
    torch.manual_seed(0)
    mixer = make().eval()
    change(mixer.get_submodule(part))
    x = torch.randn(2, 8, 9, 8)
    for _ in range(6):
        with torch.no_grad():
            for parameter in mixer.get_submodule(part).parameters():
                parameter.copy_(torch.randn_like(parameter))
        with mode():
            torch.testing.assert_close(mixer(x), plain(make, mixer, part)(x))
            torch.testing.assert_close(copy.deepcopy(mixer)(x), mixer(x))
