# Copyright (c) mmfft authors. All rights reserved.
"""Register our classifiers with mmpretrain, by name.

``mmpretrain.get_model('cdfformer-s18_3rdparty_in1k')`` and
``mmpretrain.list_models('*dfformer*')`` work once mmfft is imported, whether
before or after mmpretrain.
"""

from ..after_import import after_import
from .config_names import mim_folder

_HUB = 'mmpretrain.apis.model'


def register_models() -> None:
    """Add the classifiers of our model index to mmpretrain's ``ModelHub``.

    The index is that of ``mmfft/.mim``, or of the checkout that mmfft is
    imported from. If there is neither, nothing is added.
    """
    from mmpretrain.apis.model import ModelHub

    folder = mim_folder()
    if folder is None:
        return
    known = set(ModelHub._models_dict)
    ModelHub.register_model_index(
        folder / 'model-index.yml', config_prefix=folder
    )
    # mmpretrain cannot build the detectors and segmentors of the index.
    for name in set(ModelHub._models_dict) - known:
        results = ModelHub._models_dict[name].results
        if any(result.task != 'Image Classification' for result in results):
            del ModelHub._models_dict[name]


def register_models_with_mmpretrain() -> None:
    """Call :func:`register_models` as soon as mmpretrain is imported.

    mmfft does not import mmpretrain itself: this would take seconds, and
    detection and segmentation do not need mmpretrain.
    """
    after_import(_HUB, lambda module: register_models())
