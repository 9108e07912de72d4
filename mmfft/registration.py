# Copyright (c) mmfft authors. All rights reserved.
"""What ``import mmfft`` does if mmengine is installed.

It adds things under our own names and changes nothing that works without it.
"""


def register_with_openmmlab() -> None:
    """Register mmfft with mmengine and the installed toolboxes."""
    from . import mmcv_ops
    from .openmmlab.lines import warn_of_conflicts

    # These come first: they fix, or warn of, what could make the imports fail.
    warn_of_conflicts()
    mmcv_ops.provide()

    from . import registry  # noqa: F401  the scope mmfft
    from .openmmlab.checkpoint_schemes import register_checkpoint_schemes
    from .openmmlab.config_names import register_config_names
    from .openmmlab.inference import register_strict_inference
    from .openmmlab.model_hub import register_models_with_mmpretrain
    from .openmmlab.multimodal import leave_multimodal_out

    leave_multimodal_out()
    register_checkpoint_schemes()
    register_config_names()
    register_strict_inference()
    register_models_with_mmpretrain()
