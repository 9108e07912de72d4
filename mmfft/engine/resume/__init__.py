# Copyright (c) mmfft authors. All rights reserved.
"""What it takes to continue a run: the file, its fit, its settings."""

from .fit import check_fit, comparable, frozen_names
from .newest import (
    NEWEST,
    NEWEST_ELSE_FILE,
    decide,
    find_newest,
    find_unfinished,
    undecided,
)
from .settings import (
    Settings,
    end_of_schedules,
    place_in_training,
    saved_settings,
)

__all__ = [
    'NEWEST',
    'NEWEST_ELSE_FILE',
    'Settings',
    'check_fit',
    'comparable',
    'decide',
    'end_of_schedules',
    'find_newest',
    'find_unfinished',
    'frozen_names',
    'place_in_training',
    'saved_settings',
    'undecided',
]
