# Copyright (c) mmfft authors. All rights reserved.
"""What ``import mmfft`` does if mmengine is installed.

It adds things under our own names and changes nothing that works without it.
"""


def register_with_openmmlab() -> None:
    """Make mmengine and the toolboxes, as far as installed, know mmfft."""
    from . import mmcv_ops
    from .openmmlab.lines import warn_of_conflicts

    # Before the imports that could fail of what they mend or warn of.
    warn_of_conflicts()
    mmcv_ops.provide()

    from . import registry  # noqa: F401  the scope mmfft
    from .openmmlab.checkpoint_schemes import register_checkpoint_schemes
    from .openmmlab.config_names import register_config_names
    from .openmmlab.model_hub import register_models_with_mmpretrain

    register_checkpoint_schemes()
    register_config_names()
    register_models_with_mmpretrain()
