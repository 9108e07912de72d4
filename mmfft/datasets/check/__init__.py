# Copyright (c) mmfft authors. All rights reserved.
"""Check all data of a config before a long run, or the cheap part of it."""

from .before_run import check_before_run
from .problems import Overview, Problem, show_problems
from .whole import check_dataset

__all__ = [
    'Overview',
    'Problem',
    'check_before_run',
    'check_dataset',
    'show_problems',
]
