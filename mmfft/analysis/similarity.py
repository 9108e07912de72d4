# Copyright (c) mmfft authors. All rights reserved.
"""Similarity of the layers of two models on the same images.

Linear centred kernel alignment (CKA) of `Similarity of Neural Network
Representations Revisited <https://arxiv.org/abs/1905.00414>`_, over batches
by the unbiased estimator of `Do Wide and Deep Networks Learn the Same
Things? <https://arxiv.org/abs/2010.15327>`_.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from ..errors import ConfigError
from .feature_models import last_features

# How the names of residual blocks end in timm, mmpretrain and mmfft.
_BLOCKS = ('Block', 'Bottleneck', 'EncoderLayer')


class CKA:
    """Similarity of two lists of representations, batch by batch.

    It is 1 for representations that differ by a rotation and a factor, about
    0 for independent ones; an estimate may lie slightly outside this range.
    """

    def __init__(self):
        self._cross = self._first = self._second = 0.0

    def add(self, first: Sequence[Tensor], second: Sequence[Tensor]) -> None:
        """Add one batch.

        Args:
            first (Sequence[Tensor]): One tensor ``(N, ...)`` for each
                representation; all axes but the first are features.
            second (Sequence[Tensor]): The other list, for the same images.

        Raises:
            ConfigError: If there are fewer than four images.
        """
        if len(first[0]) < 4:
            raise ConfigError(
                f'CKA needs batches of at least 4 images, got {len(first[0])}'
            )
        first, second = _grams(first), _grams(second)
        self._cross = self._cross + _hsic(first, second)
        self._first = self._first + _hsic(first, first).diagonal()
        self._second = self._second + _hsic(second, second).diagonal()

    def value(self) -> Tensor:
        """Similarities so far, ``(len(first), len(second))``, float64."""
        norms = self._first[:, None] * self._second
        return self._cross / norms.sqrt()


def _grams(features: Sequence[Tensor]) -> Tensor:
    """Inner products of the images, their diagonal set to 0."""
    flat = [feature.flatten(1) for feature in features]
    grams = torch.stack([(x @ x.T).double() for x in flat])
    return grams - torch.diag_embed(grams.diagonal(dim1=1, dim2=2))


def _hsic(first: Tensor, second: Tensor) -> Tensor:
    """Unbiased estimate of HSIC of all pairs, from :func:`_grams`.

    Eq. 3 of Nguyen et al., after Song et al., Feature Selection via
    Dependence Maximization (2012).
    """
    n = first.shape[1]
    trace = first.flatten(1) @ second.flatten(1).T
    sums = first.sum((1, 2))[:, None] * second.sum((1, 2))
    rows = first.sum(2) @ second.sum(2).T
    return (trace + sums / ((n - 1) * (n - 2)) - 2 * rows / (n - 2)) / (
        n * (n - 3)
    )


def layer_names(model: nn.Module, pattern: str | None = None) -> list[str]:
    """List the modules of a model whose outputs are compared.

    Args:
        model (nn.Module): Model from :func:`.load_feature_model`.
        pattern (str, optional): Regular expression for whole names. Defaults
            to the residual blocks, found by the names of their classes.

    Returns:
        list[str]: Names in the order of the model.

    Raises:
        ConfigError: If there is no such module.
    """
    names = [
        name
        for name, module in model.named_modules()
        if (
            type(module).__name__.endswith(_BLOCKS)
            if pattern is None
            else re.fullmatch(pattern, name)
        )
    ]
    if not names:
        raise ConfigError(
            f'no module of {type(model).__name__} is a block'
            if pattern is None
            else f'layers: no module of {type(model).__name__} has a name '
            f'that fits {pattern!r}'
        )
    return names


@contextmanager
def _outputs(
    model: nn.Module, names: Sequence[str]
) -> Iterator[dict[str, Tensor]]:
    """Collect what modules return in their latest call, by name."""
    outputs: dict[str, Tensor] = {}

    def keep(name):
        def hook(module, inputs, output):
            outputs[name] = output

        return hook

    modules = dict(model.named_modules())
    hooks = [modules[n].register_forward_hook(keep(n)) for n in names]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def layer_similarity(
    first: nn.Module,
    second: nn.Module,
    batches: Iterable[Tensor],
    first_layers: Sequence[str],
    second_layers: Sequence[str],
) -> Tensor:
    """CKA between layers of two models on the same images.

    Args:
        first (nn.Module): Model from :func:`.load_feature_model`.
        second (nn.Module): The other model, or the same one.
        batches (Iterable[Tensor]): Images ``(N, C, H, W)``, at least four per
            batch.
        first_layers (Sequence[str]): Names from :func:`layer_names`.
        second_layers (Sequence[str]): Names from the other model.

    Returns:
        Tensor: Similarities ``(len(first_layers), len(second_layers))``.
    """
    cka = CKA()
    with (
        _outputs(first, first_layers) as ours,
        _outputs(second, second_layers) as theirs,
    ):
        for images in batches:
            last_features(first, images)
            last_features(second, images)
            cka.add(
                [ours[name] for name in first_layers],
                [theirs[name] for name in second_layers],
            )
    return cka.value()


def plot_similarity(
    values: Tensor,
    first: tuple[str, Sequence[str]],
    second: tuple[str, Sequence[str]],
    path: str | Path,
) -> None:
    """Draw a heat map, with the first layers at the bottom left.

    Args:
        values (Tensor): Similarities from :func:`layer_similarity`.
        first (tuple[str, Sequence[str]]): Name of the first model and names
            of its layers, which are the rows.
        second (tuple[str, Sequence[str]]): The same for the second model,
            whose layers are the columns.
        path (str | Path): Path of the PNG to write.
    """
    rows, columns = values.shape
    figure = Figure(figsize=(2.6 + 0.3 * columns, 2 + 0.3 * rows))
    axis = figure.subplots()
    picture = axis.imshow(values.numpy(), vmin=0, vmax=1, origin='lower')
    axis.set_xticks(range(columns), second[1], rotation=90, fontsize=7)
    axis.set_yticks(range(rows), first[1], fontsize=7)
    axis.set_xlabel(second[0])
    axis.set_ylabel(first[0])
    figure.colorbar(picture, label='linear CKA')
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100, bbox_inches='tight')
