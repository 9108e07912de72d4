# Copyright (c) mmfft authors. All rights reserved.
"""The embedded data set, and samples that cannot be used.

Importing this package stays light: what the generator needs (scikit-image,
scikit-learn, scipy, pycocotools) is imported when a data set is made.
"""

from .digit_scenes import (
    CLASSES,
    DigitScenesConfig,
    content_hash,
    make_digit_scenes,
)

__all__ = ['CLASSES', 'DigitScenesConfig', 'content_hash', 'make_digit_scenes']
