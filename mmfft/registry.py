# Copyright (c) mmfft authors. All rights reserved.
"""The registries of mmfft, children of mmengine's.

``type='mmfft.CDFFormer'`` resolves through them from the scopes of mmdet,
mmseg and mmpretrain. An ImportError in this module would be swallowed by
mmengine and appear as a missing class, so it imports nothing else.
"""

from .openmmlab import required  # noqa: F401  isort: skip

from mmengine.registry import FUNCTIONS as MMENGINE_FUNCTIONS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import METRICS as MMENGINE_METRICS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import (
    OPTIM_WRAPPER_CONSTRUCTORS as MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS,
)
from mmengine.registry import (
    WEIGHT_INITIALIZERS as MMENGINE_WEIGHT_INITIALIZERS,
)
from mmengine.registry import Registry

FUNCTIONS = Registry(
    'function',
    parent=MMENGINE_FUNCTIONS,
    scope='mmfft',
    locations=['mmfft.datasets.random_sizes'],
)
HOOKS = Registry(
    'hook',
    parent=MMENGINE_HOOKS,
    scope='mmfft',
    locations=['mmfft.engine.hooks'],
)
METRICS = Registry(
    'metric',
    parent=MMENGINE_METRICS,
    scope='mmfft',
    locations=['mmfft.evaluation'],
)
MODELS = Registry(
    'model',
    parent=MMENGINE_MODELS,
    scope='mmfft',
    locations=[
        'mmfft.backbones',
        'mmfft.data_preprocessors',
        'mmfft.heads',
    ],
)
OPTIM_WRAPPER_CONSTRUCTORS = Registry(
    'optimizer wrapper constructor',
    parent=MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS,
    scope='mmfft',
    locations=['mmfft.engine.optimizers'],
)
WEIGHT_INITIALIZERS = Registry(
    'weight initializer',
    parent=MMENGINE_WEIGHT_INITIALIZERS,
    scope='mmfft',
    locations=['mmfft.backbones', 'mmfft.analysis.starts'],
)
