# Copyright (c) mmfft authors. All rights reserved.
"""Inferencers of the toolboxes that do not predict with random numbers.

They load what fits of a checkpoint and print a line about the rest. For
models with one of our backbones a checkpoint that does not fit becomes an
error; other models are left as they are.
"""

import functools
from types import ModuleType
from weakref import WeakKeyDictionary

from torch import nn

from ..after_import import after_import
from ..checkpoints import unwrap
from ..errors import ConfigError

# Functions that load for inference, by the modules that call them.
_LOADERS = {
    'mmdet.apis.det_inferencer': '_load_checkpoint_to_model',
    'mmdet.apis.inference': 'load_checkpoint',
    'mmengine.infer.infer': '_load_checkpoint_to_model',
    'mmseg.apis.inference': 'load_checkpoint',
    'mmseg.apis.mmseg_inferencer': '_load_checkpoint_to_model',
    'mmseg.apis.remote_sense_inferencer': 'load_checkpoint',
}
# By model, why what was loaded did not fit, and the versions of the tensors
# that it left as they were.
_INCOMPLETE: WeakKeyDictionary[nn.Module, tuple[str, dict[str, int]]] = (
    WeakKeyDictionary()
)


def register_strict_inference() -> None:
    """Extend the inferencers as soon as their modules are imported."""
    for module, name in _LOADERS.items():
        after_import(module, functools.partial(_make_strict, name=name))
    # mmpretrain's load by get_model(), which fine-tuning calls as well: that
    # one may leave something out, and only inferencers refuse its model.
    after_import('mmengine.runner.checkpoint', _make_noting)
    after_import('mmpretrain.apis.base', _make_refusing)


def _make_strict(module: ModuleType, name: str) -> None:
    load = getattr(module, name)

    @functools.wraps(load)
    def load_all(model: nn.Module, checkpoint: str | dict, *args, **kwargs):
        from .weights import Watch, backbones_of, naming

        if not backbones_of(model):
            return load(model, checkpoint, *args, **kwargs)
        source = _name(checkpoint)
        watch = Watch(model)
        kwargs.setdefault('logger', 'silent')  # the error says it
        with naming(source):
            loaded = load(model, checkpoint, *args, **kwargs)
        fit = watch.fit(unwrap(loaded))
        if not fit.complete:
            raise ConfigError(fit.problem(source))
        return loaded

    setattr(module, name, load_all)


def _make_noting(module: ModuleType) -> None:
    load = module._load_checkpoint_to_model

    @functools.wraps(load)
    def load_and_note(model: nn.Module, checkpoint: dict, *args, **kwargs):
        from .weights import Watch, backbones_of

        # A backbone by itself is one that init_cfg loads.
        if not set(backbones_of(model)) - {''}:
            return load(model, checkpoint, *args, **kwargs)
        watch = Watch(model)
        loaded = load(model, checkpoint, *args, **kwargs)
        fit = watch.fit(unwrap(loaded))
        if not fit.complete:
            problem = fit.problem(_name(checkpoint))
            _INCOMPLETE[model] = problem, watch.untouched()
        return loaded

    module._load_checkpoint_to_model = load_and_note


def _make_refusing(module: ModuleType) -> None:
    init = module.BaseInferencer.__init__

    @functools.wraps(init)
    def init_and_check(self, *args, **kwargs):
        init(self, *args, **kwargs)
        # What is extracted are features, for which heads do not matter.
        features = type(self).__name__ == 'FeatureExtractor'
        require_loaded(self.model, but=('head.',) if features else ())

    module.BaseInferencer.__init__ = init_and_check


def require_loaded(model: nn.Module, but: tuple[str, ...] = ()) -> None:
    """Check that nothing in a model is as random as mmengine left it.

    Args:
        model (nn.Module): Model that mmengine may have loaded.
        but (tuple[str, ...]): Prefixes of tensors that may be. Defaults to
            none.

    Raises:
        ConfigError: If its checkpoint did not fit, and what it left has been
            neither trained nor loaded since.
    """
    from .weights import versions_of

    if model not in _INCOMPLETE:
        return
    problem, left = _INCOMPLETE[model]
    now = versions_of(model)
    if any(now.get(n) == v for n, v in left.items() if not n.startswith(but)):
        raise ConfigError(problem)


def _name(checkpoint: str | dict) -> str:
    return (
        'the checkpoint'
        if isinstance(checkpoint, dict)
        else f'checkpoint {str(checkpoint)!r}'
    )
