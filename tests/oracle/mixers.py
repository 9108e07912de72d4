# Copyright (c) mmfft authors. All rights reserved.
"""The token mixers on maps ``(B, H, W, C)``, with a layer's parameters."""

from torch import Tensor, nn

from oracle.filters import filtered, mixture


def star_relu(x: Tensor, act: nn.Module) -> Tensor:
    return act.scale * x.clamp(min=0) ** 2 + act.bias


def routing(mixer: nn.Module, x: Tensor, num_filters: int) -> Tensor:
    """Compute the weights ``(B, N, C)`` of the basis filters."""
    mlp = mixer.reweight
    hidden = star_relu(x.mean((1, 2)) @ mlp.fc1.weight.T, mlp.act)
    weights = hidden @ mlp.fc2.weight.T
    return weights.unflatten(1, (num_filters, -1)).softmax(1)


def dynamic_filter(mixer: nn.Module, x: Tensor, basis: Tensor) -> Tensor:
    """Compute DFFormer's mixer with a complex basis ``(H, Wf, N)``."""
    kernel = mixture(routing(mixer, x, basis.shape[-1]), basis)
    hidden = star_relu(x @ mixer.pwconv1.weight.T, mixer.act1)
    return filtered(hidden, kernel) @ mixer.pwconv2.weight.T
