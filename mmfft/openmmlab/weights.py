# Copyright (c) mmfft authors. All rights reserved.
"""Load weights into a model of a toolbox, and say what did not fit.

mmengine loads what fits and leaves the other tensors as they are.
"""

import contextlib
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner.checkpoint import load_state_dict
from torch import Tensor, nn

from ..errors import ConfigError
from ..layers import GridParameter
from ..models import FourierBackbone
from ..models.base import first_few

Shape = tuple[int, ...]


@dataclass
class Fit:
    """What became of the tensors of a model, and of those of a file.

    Attributes:
        taken (int): Number of the model's tensors that the file set.
        missing (list[str]): Names of those that the file does not have.
        reshaped (dict[str, tuple[Shape, Shape]]): Shapes in the file and in
            the model of those that have another shape in the file, by name.
        left_over (list[str]): Names that only the file has.
        differing (list[str]): Arguments of the config that are not those of
            the file, such as ``'model.head.num_classes is 4, 10 in the
            file'``.
        names (list[str]): All names in the file.
        parts (list[str]): Parts of the model, such as ``'neck'``, of which
            the file has nothing.
    """

    taken: int
    missing: list[str]
    reshaped: dict[str, tuple[Shape, Shape]]
    left_over: list[str]
    differing: list[str]
    names: list[str]
    parts: list[str]

    @property
    def complete(self) -> bool:
        """Whether the model is the one that the file was saved from."""
        return not (self.missing or self.reshaped or self.differing)

    def problem(self, source: str) -> str:
        """Say in one line why the weights are not those of the model.

        Args:
            source (str): Where they come from, the subject of the sentence.
        """
        if not self.taken:
            own = [*self.missing, *self.reshaped]
            return (
                f'nothing in {source} fits the model: it has '
                f'{self.names[:3]}, the model has {own[:3]}'
            )
        shapes = [
            f'{name} has shape {file}, the model {model}'
            for name, (file, model) in self.reshaped.items()
        ]
        parts = []
        if self.differing or shapes:
            reasons = self.differing + ([first_few(shapes)] if shapes else [])
            parts.append(f'does not fit the config: {"; ".join(reasons)}')
        if self.missing:
            whole = f', and all of {", ".join(self.parts)}'
            parts.append(
                f'lacks {len(self.missing)} tensors of the '
                f"config's model, such as {self.missing[:3]}"
                f'{whole if self.parts else ""}; it has '
                f'{(self.left_over or self.names)[:3]}'
            )
        return f'{source} {"; it ".join(parts)}'

    def report(self, source: str) -> str:
        """Say in a few lines what was loaded and what was not.

        Args:
            source (str): Where the weights come from.
        """
        number = self.taken + len(self.missing) + len(self.reshaped)
        kinds = {
            'of another shape, and not loaded': list(self.reshaped),
            'parts of which the file has nothing': self.parts,
            'not in the file': self.missing,
            'not used': self.left_over,
        }
        return '\n    '.join(
            [
                f'{source}: {self.taken} of {number} tensors of the model '
                'loaded',
                *self.differing,
                *(f'{k}: {first_few(v)}' for k, v in kinds.items() if v),
            ]
        )


class Watch:
    """Sees which tensors of a model something is written into.

    Modules rename and resize what they load: only the versions of the tensors
    tell what became of it.

    Args:
        model (nn.Module): Model before it is loaded.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = unwrapped(model)
        self.versions = versions_of(self.model)

    def fit(self, weights: dict[str, Tensor], prefix: str = '') -> Fit:
        """Say what became of the weights that were loaded since.

        Args:
            weights (dict[str, Tensor]): State dict that was loaded.
            prefix (str): See :func:`load_into`. Defaults to none.
        """
        kept = list(self.untouched())
        return _fit(self.model, _under(weights, prefix), kept, prefix)

    def untouched(self) -> dict[str, int]:
        """Versions of the tensors that nothing has been written into."""
        now = versions_of(self.model).items()
        return {n: v for n, v in now if self.versions.get(n) == v}


def load_into(
    model: nn.Module,
    weights: dict[str, Tensor],
    source: str,
    prefix: str = '',
    adapt_stems: bool = False,
) -> Fit:
    """Load what fits, as mmengine does, and say nothing.

    Args:
        model (nn.Module): Model that is changed in place.
        weights (dict[str, Tensor]): State dict, also of a wrapped model.
        source (str): Where it comes from, for errors.
        prefix (str): Prefix of the names of the model's tensors in it.
            Defaults to none.
        adapt_stems (bool): Whether our backbones of other than three channels
            adapt weights for RGB. Defaults to False.

    Returns:
        Fit: What became of the tensors.

    Raises:
        ConfigError: If one of our backbones refuses the weights.
    """
    watch = Watch(model)
    with naming(source), _adapting(watch.model, adapt_stems):
        load_state_dict(watch.model, _under(weights, prefix), logger='silent')
    return watch.fit(weights, prefix)


@contextlib.contextmanager
def naming(source: str) -> Iterator[None]:
    """Make the errors of our backbones say where the weights come from.

    Args:
        source (str): What takes the place of ``'the checkpoint'``.
    """
    try:
        yield
    except ConfigError as error:
        said, subject = str(error), 'the checkpoint '
        raise ConfigError(
            f'{source} {said.removeprefix(subject)}'
            if said.startswith(subject)
            else f'{source}: {said}'
        ) from error


def unwrapped(model: nn.Module) -> nn.Module:
    """The model within wrappers for several processes or augmented tests."""
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model


def _under(weights: dict[str, Tensor], prefix: str) -> OrderedDict:
    """The part of a state dict under a prefix, with its versions."""
    part = OrderedDict()
    for name, value in weights.items():
        name = name.removeprefix('module.')
        if name.startswith(prefix):
            part[name.removeprefix(prefix)] = value
    versions = getattr(weights, '_metadata', {})
    part._metadata = {
        name.removeprefix(prefix): value
        for name, value in versions.items()
        if f'{name}.'.startswith(prefix)
    }
    return part


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """Tensors of the model that a file must have."""
    return {
        name: value
        for name, value in model.state_dict(keep_vars=True).items()
        if isinstance(value, Tensor)
        # Files of earlier versions do not have these, and need not.
        and not name.endswith('num_batches_tracked')
        and not (
            name.endswith('.grid')
            and isinstance(
                model.get_submodule(name.removesuffix('.grid')), GridParameter
            )
        )
    }


def versions_of(model: nn.Module) -> dict[str, int]:
    """How often something was written into each tensor of a model."""
    return {name: value._version for name, value in _tensors(model).items()}


def backbones_of(model: nn.Module) -> dict[str, FourierBackbone]:
    """The backbones of ours in a model, by name."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, FourierBackbone)
    }


@contextlib.contextmanager
def _adapting(model: nn.Module, adapt_stems: bool) -> Iterator[None]:
    backbones = backbones_of(model).values() if adapt_stems else ()
    for backbone in backbones:
        backbone.adapt_stem = True
    try:
        yield
    finally:
        for backbone in backbones:
            del backbone.adapt_stem


def _fit(
    model: nn.Module, weights: dict[str, Tensor], kept: list[str], prefix: str
) -> Fit:
    own, tensors = model.state_dict(), _tensors(model)
    reshaped = {
        name: (tuple(weights[name].shape), tuple(tensors[name].shape))
        for name in kept
        if isinstance(weights.get(name), Tensor)
        and weights[name].shape != tensors[name].shape
    }
    return Fit(
        len(tensors) - len(kept),
        [prefix + name for name in kept if name not in reshaped],
        {prefix + name: shapes for name, shapes in reshaped.items()},
        [prefix + name for name in weights if name not in own],
        [
            *_differing_backbones(model, weights, prefix),
            *_differing_classes(model, reshaped, prefix),
        ],
        [prefix + name for name in weights],
        _lacking_parts(tensors, kept),
    )


def _lacking_parts(tensors: dict[str, Tensor], kept: list[str]) -> list[str]:
    """Children of a model into which nothing was loaded."""
    taken = {name.partition('.')[0] for name in set(tensors) - set(kept)}
    parts = dict.fromkeys(n.partition('.')[0] for n in kept if '.' in n)
    return [part for part in parts if part not in taken]


def _differing_backbones(
    model: nn.Module, weights: dict[str, Tensor], prefix: str
) -> list[str]:
    return [
        f'{_in_config(prefix + name)}.{phrase}'
        for name, module in backbones_of(model).items()
        for phrase in module.differing_arguments(
            _under(weights, f'{name}.' if name else '')
        )
    ]


def _differing_classes(
    model: nn.Module, reshaped: dict[str, tuple[Shape, Shape]], prefix: str
) -> list[str]:
    """Heads whose number of classes explains the shapes."""
    possible: dict[str, set[int]] = {}
    for name, (file, own) in reshaped.items():
        head = _owner_of_classes(model, name)
        if head is None or not file or file[1:] != own[1:]:
            continue
        classes = model.get_submodule(head).num_classes
        found = _classes(file[0], own[0], classes)
        possible[head] = possible.get(head, found) & found
    return [
        f'{_in_config(prefix + head)}.num_classes is '
        f'{model.get_submodule(head).num_classes}, {min(numbers)} in the file'
        for head, numbers in possible.items()
        if numbers
    ]


def _owner_of_classes(model: nn.Module, name: str) -> str | None:
    while '.' in name:
        name = name.rpartition('.')[0]
        classes = getattr(model.get_submodule(name), 'num_classes', None)
        if isinstance(classes, int) and classes > 0:
            return name
    return None


def _classes(file: int, own: int, classes: int) -> set[int]:
    """Numbers of classes in the file that could explain its channels.

    Layers have as many channels as classes, one more for the background, or a
    multiple of either.
    """
    found = set()
    for background in (0, 1):
        each, rest = divmod(own, classes + background)
        if not rest and each and not file % each:
            found.add(file // each - background)
    return found - {0, classes}


def _in_config(name: str) -> str:
    return f'model.{name}'.rstrip('.')
