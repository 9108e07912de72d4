# Copyright (c) mmfft authors. All rights reserved.
# ruff: noqa: E402
from . import mmcv_ops
from .lines import warn_of_conflicts

# Before the imports that could fail of what they mend or warn of.
warn_of_conflicts()
mmcv_ops.provide()

from . import checkpoints  # mmengine's loading made safe
from .config_names import register_config_names
from .model_hub import register_models_with_mmpretrain
from .registry import MODELS
from .version import __version__, version_info

__all__ = ['MODELS', '__version__', 'checkpoints', 'version_info']

register_config_names()
register_models_with_mmpretrain()
