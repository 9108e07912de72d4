# Copyright (c) mmfft authors. All rights reserved.
"""The embedded data set, checks of data, and samples that cannot be used.

Importing this package is cheap: what the generator needs (scikit-image,
scikit-learn, scipy, pycocotools) is imported only when a data set is made.
"""

from .digit_scenes import (
    CLASSES,
    DigitScenesConfig,
    content_hash,
    make_digit_scenes,
)

__all__ = ['CLASSES', 'DigitScenesConfig', 'content_hash', 'make_digit_scenes']
