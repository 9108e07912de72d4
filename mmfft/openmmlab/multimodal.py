# Copyright (c) mmfft authors. All rights reserved.
"""mmpretrain beside a transformers that is too new for it.

mmpretrain imports its multimodal models if a transformers is installed. They
need names that transformers 5 no longer has, so that every import of
``mmpretrain.models`` fails with ``TypeError: NoneType takes no arguments``.
"""

from importlib.metadata import version
from types import ModuleType

from mmengine.registry import Registry

from ..after_import import after_import
from ..errors import ConfigError

_TOO_NEW = 'transformers>=5'


def leave_multimodal_out() -> None:
    """Let mmpretrain be imported without what cannot be imported.

    Its backbones, heads and data sets for classification work then. A
    multimodal model is refused when it is built, with the reason.
    """
    after_import('mmpretrain.utils.dependency', _leave_out)


def _leave_out(dependency: ModuleType) -> None:
    if dependency.satisfy_requirement(_TOO_NEW):
        dependency.WITH_MULTIMODAL = False
        dependency.register_multimodal_placeholder = _register_refusals


def _register_refusals(names: list[str], registry: Registry) -> None:
    for name in names:
        registry.register_module(name=name, module=_refusal(name))


def _refusal(name: str):
    def refuse(*args, **kwargs):
        raise ConfigError(
            f'type={name!r}: transformers {version("transformers")} is '
            'installed, and the multimodal models of mmpretrain need one '
            "before 5: pip install 'transformers<5'"
        )

    return refuse
