# Copyright (c) mmfft authors. All rights reserved.
"""What it takes to continue a run: the file, its fit, settings, gradients."""

from .arithmetic import arithmetic, changed_arithmetic
from .fit import check_fit, comparable, frozen_names
from .gradients import (
    accumulates,
    average_over_processes,
    can_keep,
    prepare_gradients,
    restore_gradients,
    save_gradients,
)
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
    'accumulates',
    'arithmetic',
    'average_over_processes',
    'can_keep',
    'changed_arithmetic',
    'check_fit',
    'comparable',
    'decide',
    'end_of_schedules',
    'find_newest',
    'find_unfinished',
    'frozen_names',
    'place_in_training',
    'prepare_gradients',
    'restore_gradients',
    'save_gradients',
    'saved_settings',
    'undecided',
]
