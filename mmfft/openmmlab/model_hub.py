# Copyright (c) mmfft authors. All rights reserved.
"""Makes mmpretrain know our classifiers by name.

``mmpretrain.get_model('cdfformer-s18_3rdparty_in1k')`` and
``mmpretrain.list_models('*dfformer*')`` work once mmfft is imported, before
mmpretrain or after it.
"""

import importlib.util
import sys
from collections.abc import Callable
from importlib.abc import MetaPathFinder

from .config_names import mim_folder

_HUB = 'mmpretrain.apis.model'


def register_models() -> None:
    """Add the classifiers of our model index to mmpretrain's ``ModelHub``.

    The index is that of ``mmfft/.mim``, or of the checkout that mmfft is
    imported from. Without either nothing is added.
    """
    from mmpretrain.apis.model import ModelHub

    folder = mim_folder()
    if folder is None:
        return
    known = set(ModelHub._models_dict)
    ModelHub.register_model_index(
        folder / 'model-index.yml', config_prefix=folder
    )
    # It could not build the detectors and segmentors of the index.
    for name in set(ModelHub._models_dict) - known:
        results = ModelHub._models_dict[name].results
        if any(result.task != 'Image Classification' for result in results):
            del ModelHub._models_dict[name]


def register_models_with_mmpretrain() -> None:
    """Call :func:`register_models` as soon as mmpretrain is imported.

    mmfft does not import it for that: it takes seconds, and who detects or
    segments may not have it.
    """
    if _HUB in sys.modules:
        register_models()
    else:
        sys.meta_path.insert(0, _AfterImport(_HUB, register_models))


class _AfterImport(MetaPathFinder):
    """Call ``action`` when the module ``name`` has been imported, once."""

    def __init__(self, name: str, action: Callable[[], None]):
        self.name = name
        self.action = action

    def find_spec(self, name, path=None, target=None):
        if name != self.name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            self.action()

        spec.loader.exec_module = exec_module
        return spec
