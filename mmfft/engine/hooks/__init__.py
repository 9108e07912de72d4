# Copyright (c) mmfft authors. All rights reserved.
"""Hooks that save safely, resume exactly, check runs and draw pictures."""

from .atomic_checkpoint_hook import AtomicCheckpointHook, AtomicLocalBackend
from .bad_samples_hook import BadSamplesHook
from .bound_history_hook import BoundHistoryHook
from .check_load_hook import CheckLoadHook
from .check_loss_hook import CheckLossHook, InvalidLossError
from .exact_resume_hook import ExactResumeHook
from .filter_stats_hook import FilterStatsHook
from .filter_vis_hook import FilterVisHook
from .show_hook import ShowHook

__all__ = [
    'AtomicCheckpointHook',
    'AtomicLocalBackend',
    'BadSamplesHook',
    'BoundHistoryHook',
    'CheckLoadHook',
    'CheckLossHook',
    'ExactResumeHook',
    'FilterStatsHook',
    'FilterVisHook',
    'InvalidLossError',
    'ShowHook',
]
