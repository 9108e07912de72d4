# Copyright (c) mmfft authors. All rights reserved.
"""Which toolbox a config is for, and which classes and data sets it names.

A ``type`` is a name with or without a scope (``'LoadAnnotations'``,
``'mmseg.LoadAnnotations'``), the path of a class in a module, as mmengine
writes it when it dumps a pure Python config, or the class itself. Only classes
can be compared.
"""

from collections.abc import Iterator, Mapping
from typing import TypeVar

from mmengine.config import Config
from mmengine.config.lazy import LazyAttr, LazyObject
from mmengine.registry import Registry, init_default_scope

from ..errors import ConfigError

TOOLBOXES = ('mmpretrain', 'mmdet', 'mmseg')

T = TypeVar('T')


def toolbox(cfg: Config) -> str | None:
    """Name the toolbox of a config.

    Pure Python configs of mmdet have ``default_scope = None``: their classes
    say where they come from.

    Args:
        cfg (Config): Config of any toolbox.

    Returns:
        str | None: The config's ``default_scope``; if there is none, the
        toolbox of the first class of the model, or else of the data, that
        belongs to one; None if none does.
    """
    scope = cfg.get('default_scope')
    if scope not in (None, 'mmengine'):
        return scope
    loaders = (f'{split}_dataloader' for split in ('train', 'val', 'test'))
    for key in ('model', *loaders):
        for package in map(_package, _types(cfg.get(key))):
            if package in TOOLBOXES:
                return package
    return scope


def _types(value) -> Iterator:
    if isinstance(value, Mapping):
        if 'type' in value:
            yield value['type']
        value = [value[key] for key in value]
    if isinstance(value, (list, tuple)):
        for one in value:
            yield from _types(one)


def _package(kind) -> str:
    name = kind if isinstance(kind, str) else getattr(kind, '__module__', '')
    return name.partition('.')[0]


def choose_by_scope(cfg: Config, choices: Mapping[str, T]) -> T:
    """Choose what belongs to the toolbox of a config.

    Args:
        cfg (Config): Config of a toolbox, see :func:`toolbox`.
        choices (Mapping[str, T]): One entry for each supported toolbox.

    Returns:
        T: Entry of the config's toolbox.

    Raises:
        ConfigError: If the config is for another toolbox.
    """
    scope = toolbox(cfg)
    if scope not in choices:
        raise ConfigError(
            f'default_scope={scope!r} of the config must be one of '
            f'{sorted(choices)}'
        )
    return choices[scope]


def enter_scope(cfg: Config) -> None:
    """Let names be looked for in the toolbox of a config from now on.

    Args:
        cfg (Config): Config of any toolbox.
    """
    init_default_scope(toolbox(cfg) or 'mmengine')


def scoped(cfg: Config, registry: Registry, name: str) -> str:
    """Name a class as a ``type`` in a config that may have no scope.

    Args:
        cfg (Config): Config of a toolbox.
        registry (Registry): Registry that will build it, or its parent.
        name (str): Name of the class in the toolbox, or in its parents.

    Returns:
        str: The name; with the toolbox before it if the toolbox has a class of
        its own, which would not be found without a ``default_scope``.
    """
    scope = toolbox(cfg)
    full = f'{scope}.{name}'
    if scope == cfg.get('default_scope') or class_of(registry, full) is None:
        return name
    return full


def class_of(registry: Registry, kind, cfg: Config | None = None):
    """Find the class that a ``type`` means.

    Args:
        registry (Registry): Registry that would build it, or its parent.
        kind (dict | str | type): Config with a ``type``, or the ``type``.
        cfg (Config, optional): Config in which it stands, for its
            ``default_scope``. Defaults to none: the current scope.

    Returns:
        type | None: The class, or the function that builds in its place; None
        if there is none of this name.
    """
    if isinstance(kind, Mapping):
        kind = kind.get('type')
    if isinstance(kind, (LazyAttr, LazyObject)):
        return kind.build()
    if not isinstance(kind, str):
        return kind
    scope = None if cfg is None else cfg.get('default_scope') or 'mmengine'
    with registry.switch_scope_and_registry(scope) as scoped_registry:
        return scoped_registry.get(kind)


def class_name(kind) -> str:
    """Name of the class that a ``type`` means, without scope and module.

    Args:
        kind (dict | str | type): Config with a ``type``, or the ``type``.

    Returns:
        str: The name; empty if there is none.
    """
    if isinstance(kind, Mapping):
        kind = kind.get('type')
    name = kind if isinstance(kind, str) else getattr(kind, '__name__', '')
    return name.rpartition('.')[2]


def is_subclass(cls, *parents: type) -> bool:
    """Whether something from :func:`class_of` is one of these classes."""
    return isinstance(cls, type) and issubclass(cls, parents)


def leaf_datasets(dataset: dict) -> Iterator[dict]:
    """Find the datasets inside wrappers such as ``ConcatDataset``.

    Args:
        dataset (dict): Config of the dataset of a dataloader.

    Yields:
        dict: Config of a dataset that reads files; the one that was given if
        it is not a wrapper.
    """
    inner = dataset.get('datasets') or dataset.get('dataset')
    if inner is None:
        yield dataset
    else:
        for one in inner if isinstance(inner, (list, tuple)) else [inner]:
            yield from leaf_datasets(one)
