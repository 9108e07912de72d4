# Copyright (c) mmfft authors. All rights reserved.
"""Parts of an initialization, one by one, for a study of what helps."""

from collections.abc import Sequence

from torch import nn

from ..errors import require_one_of
from ..layers import HalfSpectrum
from ..models.initialization import (
    centre_activations,
    init_truncated_normal,
    scale_by_inputs,
    shrink_branches,
)
from ..registry import WEIGHT_INITIALIZERS


def _scale_as_pytorch(backbone: nn.Module) -> None:
    for layer in backbone.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_uniform_(layer.weight, a=5**0.5)


def _strong_filters(backbone: nn.Module) -> None:
    """Gain 1 on average; the published one is 0.03."""
    for layer in backbone.modules():
        if isinstance(layer, HalfSpectrum):
            nn.init.normal_(layer.weight, std=0.5**0.5)


def _passing_filters(backbone: nn.Module) -> None:
    """Transfer function 1, with noise that tells the filters apart."""
    for layer in backbone.modules():
        if isinstance(layer, HalfSpectrum):
            nn.init.normal_(layer.weight, std=0.5)
            layer.weight.data[..., 0] += 1


PARTS = {
    'fan_in': _scale_as_pytorch,
    'unit': scale_by_inputs,
    'centred': centre_activations,
    'strong_filters': _strong_filters,
    'passing_filters': _passing_filters,
    'shrunk_branches': shrink_branches,
}


@WEIGHT_INITIALIZERS.register_module()
class StartOfParts:
    """The published initialization of a backbone with some parts changed.

    Args:
        parts (Sequence[str]): Names in :data:`PARTS`, in their order.

    Raises:
        ConfigError: If a name is unknown.
    """

    def __init__(self, parts: Sequence[str]):
        for part in parts:
            require_one_of('parts', part, list(PARTS))
        self.parts = parts

    def __call__(self, module: nn.Module) -> None:
        init_truncated_normal(module, module.truncated_normal_layers)
        for part in self.parts:
            PARTS[part](module)
