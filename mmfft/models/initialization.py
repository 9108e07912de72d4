# Copyright (c) mmfft authors. All rights reserved.
"""Values of the parameters before a training from scratch."""

import math

from torch import nn

from ..layers import StarReLU

INITS = ('published', 'unit_variance')
LayerTypes = tuple[type[nn.Conv2d] | type[nn.Linear], ...]

# Of relu(x)^2 for a standard normal x: mean 1/2, variance 5/4.
_STAR_SCALE = 1 / math.sqrt(5 / 4)
_STAR_BIAS = -_STAR_SCALE / 2
# Last layers of the residual branches of blocks.
_BRANCH_ENDS = ('token_mixer.pwconv2', 'mlp.fc2')


def initialize(
    module: nn.Module, init: str, published_layers: LayerTypes
) -> None:
    """Give the layers of a module the values from which a training starts.

    Args:
        module (nn.Module): Module whose layers, itself included, get new
            values.
        init (str): One of :data:`INITS`.
        published_layers (tuple[type]): Classes of the layers that the
            published initialization changes.
    """
    if init == 'published':
        init_truncated_normal(module, published_layers)
    else:
        init_unit_variance(module)


def init_truncated_normal(module: nn.Module, layers: LayerTypes) -> None:
    """Published initialization: deviation 0.02, biases 0.

    Args:
        module (nn.Module): Module whose layers, itself included, get new
            values.
        layers (tuple[type]): Classes of the layers that do.
    """
    for layer in module.modules():
        if isinstance(layer, layers):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def init_unit_variance(module: nn.Module) -> None:
    """Initialization that keeps the variance of features through each layer.

    The residual branches of a backbone together add about as much variance
    as there is. Filters start as published.

    Args:
        module (nn.Module): Module whose layers, itself included, get new
            values.
    """
    scale_by_inputs(module)
    centre_activations(module)
    shrink_branches(module)


def scale_by_inputs(module: nn.Module) -> None:
    """Weights of deviation ``1 / sqrt(n)`` for n inputs, biases 0.

    From `Efficient BackProp <https://doi.org/10.1007/3-540-49430-8_2>`_,
    section 4.6.
    """
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            inputs = layer.weight[0].numel()
            nn.init.trunc_normal_(layer.weight, std=inputs**-0.5)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def centre_activations(module: nn.Module) -> None:
    """StarReLU of mean 0 and variance 1 for a standard normal input.

    From `MetaFormer Baselines for Vision
    <https://arxiv.org/abs/2210.13452>`_, section 2; its published code starts
    at scale 1 and bias 0.
    """
    for layer in module.modules():
        if isinstance(layer, StarReLU):
            nn.init.constant_(layer.scale, _STAR_SCALE)
            nn.init.constant_(layer.bias, _STAR_BIAS)


def shrink_branches(module: nn.Module) -> None:
    """Last layers of N residual branches divided by ``sqrt(N)``.

    From GPT-2, "Language Models are Unsupervised Multitask Learners",
    section 2.3.
    """
    ends = [
        layer
        for name, layer in module.named_modules()
        if name.endswith(_BRANCH_ENDS)
    ]
    for end in ends:
        end.weight.data /= len(ends) ** 0.5
