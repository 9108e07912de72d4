# Copyright (c) mmfft authors. All rights reserved.
"""Say which extra to install if OpenMMLab is missing.

Every subpackage that needs OpenMMLab imports this module first.
"""

try:
    import mmengine  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != 'mmengine':
        raise
    raise ModuleNotFoundError(
        'this part of mmfft works with OpenMMLab, and mmengine is not '
        "installed: pip install 'mmfft[openmmlab]', or "
        "'mmfft[openmmlab-original]' for the original line",
        name='mmengine',
    ) from error
