# Copyright (c) mmfft authors. All rights reserved.
"""What the parts of a model pass on to each other, without computing it.

The model is built and run on PyTorch's device ``meta``, whose tensors have
shapes but no values.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from torch import Tensor, nn

from .models import build_model
from .quiet import quiet

# On each side, enough for one pixel in the last of five levels.
_SIZE = 128


class Part(NamedTuple):
    """A part of a model that takes features.

    Args:
        name (str): Name of the part in ``cfg.model``.
        module (nn.Module): The part itself.
        inputs (Sequence[Tensor]): Features that it is given.
        error (Exception, optional): What it raised on them. Defaults to none.
        output (Any): What it made of them. Defaults to none.
    """

    name: str
    module: nn.Module
    inputs: Sequence[Tensor]
    error: Exception | None = None
    output: Any = None

    @property
    def expected(self) -> int | list[int] | None:
        """The ``in_channels`` that fit, None if that cannot be said."""
        channels = [feature.shape[1] for feature in self.inputs]
        index = getattr(self.module, 'in_index', None)
        if isinstance(index, (list, tuple)):
            if not all(-len(channels) <= i < len(channels) for i in index):
                return None
            return [channels[i] for i in index]
        if isinstance(index, int):
            in_range = -len(channels) <= index < len(channels)
            return channels[index] if in_range else None
        if self.name == 'neck':
            return channels
        # A head of a classifier takes the last features, one of a detector
        # takes each, and they have the same number of channels.
        return channels[-1] if self.name == 'head' else channels[0]


def build_on_meta(cfg: Config) -> nn.Module | None:
    """Build the model of a config without memory for its weights.

    Args:
        cfg (Config): Config of any toolbox.

    Returns:
        nn.Module | None: Model in training mode, in which some heads return
        more, or None if it cannot be built. The Runner then says why.
    """
    for device in ('meta', 'cpu'):
        try:
            with quiet(), torch.device(device):
                return build_model(cfg).train()
        # Constructors raise errors of any kind, and some read values, which
        # tensors on `meta` do not have.
        except Exception:
            continue
    return None


def run_parts(model: nn.Module) -> tuple[Sequence[Tensor], list[Part]]:
    """Run the backbone, and on its features the neck and the heads.

    Args:
        model (nn.Module): Model from :func:`build_on_meta`.

    Returns:
        tuple[Sequence[Tensor], list[Part]]: Outputs of the backbone, and the
        parts that were run on them. Both are empty if the model is of another
        kind, or its backbone cannot be run so.
    """
    backbone = getattr(model, 'backbone', None)
    device = next((p.device for p in model.parameters()), None)
    if backbone is None or device is None:
        return (), []
    channels = getattr(backbone, 'in_channels', 3)
    if not isinstance(channels, int):
        channels = 3
    # Two, because BN needs more than one value of each channel.
    image = torch.zeros(2, channels, _SIZE, _SIZE, device=device)
    outs, error = _try(backbone, image)
    if error or not _are_maps(outs):
        return (), []
    parts, features = [], outs
    if isinstance(getattr(model, 'neck', None), nn.Module):
        part = _run(model, 'neck', features)
        parts.append(part)
        if part.error or not _are_maps(part.output, least=2):
            return outs, parts
        features = part.output
    parts += [_run(model, name, features) for name in _heads(model)]
    return outs, parts


def _try(module: nn.Module, *args) -> tuple[Any, Exception | None]:
    try:
        with quiet():
            return module(*args), None
    # Errors of any kind, also of operators without shapes on `meta`.
    except Exception as error:
        return None, error


def _run(model: nn.Module, name: str, features: Sequence[Tensor]) -> Part:
    module = model.get_submodule(name)
    output, error = _try(module, features)
    return Part(name, module, features, error, output)


def _are_maps(outs: Any, least: int = 4) -> bool:
    return (
        isinstance(outs, (list, tuple))
        and len(outs) > 0
        and all(isinstance(o, Tensor) and o.dim() >= least for o in outs)
    )


def _heads(model: nn.Module) -> Iterator[str]:
    """Names of the heads that take all features and nothing else."""
    for name in (
        'head',
        'rpn_head',
        'bbox_head',
        'decode_head',
        'auxiliary_head',
    ):
        module = getattr(model, name, None)
        if isinstance(module, nn.ModuleList):
            # The later ones of a cascade also take predictions.
            last = 1 if name == 'decode_head' else len(module)
            yield from (f'{name}.{i}' for i in range(last))
        elif isinstance(module, nn.Module):
            yield name


def unused_outputs(
    model: nn.Module, outs: Sequence[Tensor], parts: Sequence[Part]
) -> tuple[str, list[int]]:
    """Find outputs that no other part uses, and that leave weights idle.

    Args:
        model (nn.Module): Model from :func:`build_on_meta`.
        outs (Sequence[Tensor]): Outputs of the backbone, from
            :func:`run_parts`.
        parts (Sequence[Part]): Parts from :func:`run_parts`.

    Returns:
        tuple[str, list[int]]: ``'backbone'`` or ``'neck'``, and the positions
        of its outputs that lead to none of the results. No positions if all
        do, if every weight still gets a gradient, or if a part could not be
        run.
    """
    if not parts or any(part.error for part in parts):
        return 'backbone', []
    sources = {'backbone': outs}
    if parts[0].name == 'neck':
        sources['neck'] = parts[0].output
    last = parts[1:] if len(parts) > 1 and 'neck' in sources else parts
    results = [
        tensor.sum()
        for part in last
        for tensor in _tensors(part.output)
        if tensor.requires_grad
    ]
    for name, tensors in sources.items():
        kept = [i for i, out in enumerate(tensors) if out.requires_grad]
        weights = [
            weight
            for weight in model.get_submodule(name).parameters()
            if weight.requires_grad
        ]
        if not kept or not weights or not results:
            continue
        gradients = torch.autograd.grad(
            sum(results),
            [*(tensors[i] for i in kept), *weights],
            retain_graph=True,
            allow_unused=True,
        )
        unused = [i for i, grad in zip(kept, gradients) if grad is None]
        if unused and None in gradients[len(kept) :]:
            return name, unused
    return 'backbone', []


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _tensors(one)
