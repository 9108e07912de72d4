# Copyright (c) mmfft authors. All rights reserved.
"""The registries of mmfft, children of mmengine's.

``type='mmfft.CDFFormer'`` resolves through them from the scopes of mmdet,
mmseg and mmpretrain. An ImportError in this module would be swallowed by
mmengine and show as a missing class, so it imports nothing else.
"""

from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import Registry

MODELS = Registry(
    'model',
    parent=MMENGINE_MODELS,
    scope='mmfft',
    locations=['mmfft.backbones', 'mmfft.heads'],
)
