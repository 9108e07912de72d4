# Copyright (c) mmfft authors. All rights reserved.
"""What it takes to continue a run."""

from .newest import (
    NEWEST,
    NEWEST_ELSE_FILE,
    decide,
    find_newest,
    find_unfinished,
    undecided,
)

__all__ = [
    'NEWEST',
    'NEWEST_ELSE_FILE',
    'decide',
    'find_newest',
    'find_unfinished',
    'undecided',
]
