# Copyright (c) mmfft authors. All rights reserved.
from mmengine.model import update_init_info
from torch import nn

from ..models.initialization import init_unit_variance
from ..registry import WEIGHT_INITIALIZERS


@WEIGHT_INITIALIZERS.register_module()
class UnitVariance:
    """``init_unit_variance`` of ``mmfft.models.initialization``.

    For ``init_cfg=dict(type='mmfft.UnitVariance')`` of any module of a
    toolbox.
    """

    def __call__(self, module: nn.Module) -> None:
        init_unit_variance(module)
        if hasattr(module, '_params_init_info'):
            update_init_info(module, 'Initialized by UnitVariance')
