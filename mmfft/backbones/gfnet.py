# Copyright (c) mmfft authors. All rights reserved.
from .. import models
from ..registry import MODELS
from .base import FourierBackbone


@MODELS.register_module()
class GFNet(FourierBackbone, models.GFNet):
    """:class:`mmfft.models.GFNet`, see :class:`FourierBackbone`."""


@MODELS.register_module()
class GFNetPyramid(FourierBackbone, models.GFNetPyramid):
    """:class:`mmfft.models.GFNetPyramid`, see :class:`FourierBackbone`."""
