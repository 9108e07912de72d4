# Copyright (c) mmfft authors. All rights reserved.
"""Whether a config agrees with itself, before a run starts.

Its classes, labels, metrics and channels are named in several places. What
does not fit ends a run after an epoch, or trains and measures something else.
"""

from .check import check_agreement, find_disagreements
from .settings import Disagreement

__all__ = ['Disagreement', 'check_agreement', 'find_disagreements']
