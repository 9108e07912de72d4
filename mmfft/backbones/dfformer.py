# Copyright (c) mmfft authors. All rights reserved.
from torch import nn

from .. import models
from ..errors import ConfigError
from ..layers import StarReLU
from ..registry import MODELS
from .base import FourierBackbone

# The names of the family's `act_cfg`, also where mmcv is not installed.
for _act in (StarReLU, nn.GELU, nn.ReLU, nn.SiLU):
    MODELS.register_module(module=_act)


class MetaFormer(FourierBackbone, models.MetaFormer):
    """:class:`mmfft.models.MetaFormer` as a backbone of OpenMMLab.

    Args:
        *args: Positional arguments of the model.
        act_cfg (dict): Activation of the MLPs and of the mixers' expansion.
            Defaults to ``dict(type='mmfft.StarReLU')``.
        **kwargs: Other arguments of the model and of
            :class:`FourierBackbone`.

    Raises:
        ConfigError: If an argument is out of its range.
    """

    def __init__(
        self, *args, act_cfg: dict = dict(type='mmfft.StarReLU'), **kwargs
    ):
        def act_layer():
            try:
                return MODELS.build(act_cfg)
            except (KeyError, TypeError) as error:
                raise ConfigError(f'act_cfg={act_cfg!r}: {error}') from error

        super().__init__(*args, act_layer=act_layer, **kwargs)


@MODELS.register_module()
class DFFormer(MetaFormer, models.DFFormer):
    """:class:`mmfft.models.DFFormer`, see :class:`MetaFormer`."""


@MODELS.register_module()
class CDFFormer(DFFormer, models.CDFFormer):
    """:class:`mmfft.models.CDFFormer`, see :class:`MetaFormer`."""


@MODELS.register_module()
class GFFormer(DFFormer, models.GFFormer):
    """:class:`mmfft.models.GFFormer`, see :class:`MetaFormer`."""
