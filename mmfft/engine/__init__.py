# Copyright (c) mmfft authors. All rights reserved.
"""Runs from configs and command lines, with their hooks and optimizers."""

from ..openmmlab import required
from .agreement import Disagreement, check_agreement, find_disagreements
from .cli import command_line, config_parser, run_parser
from .config import apply_test_options, apply_train_options, load_config
from .hooks import (
    AtomicCheckpointHook,
    AtomicLocalBackend,
    BadSamplesHook,
    BoundHistoryHook,
    CheckLoadHook,
    CheckLossHook,
    ExactResumeHook,
    FilterStatsHook,
    FilterVisHook,
    InvalidLossError,
    ShowHook,
)
from .models import build_model, image_channels, load_weights
from .optimizers import LayerDecayOptimWrapperConstructor
from .resume import find_newest
from .runner import build_runner, dump_metrics
from .trial import Failure, check_config, try_steps

__all__ = [
    'AtomicCheckpointHook',
    'AtomicLocalBackend',
    'BadSamplesHook',
    'BoundHistoryHook',
    'CheckLoadHook',
    'CheckLossHook',
    'Disagreement',
    'ExactResumeHook',
    'Failure',
    'FilterStatsHook',
    'FilterVisHook',
    'InvalidLossError',
    'LayerDecayOptimWrapperConstructor',
    'ShowHook',
    'apply_test_options',
    'apply_train_options',
    'build_model',
    'build_runner',
    'check_agreement',
    'check_config',
    'command_line',
    'config_parser',
    'dump_metrics',
    'find_disagreements',
    'find_newest',
    'image_channels',
    'load_config',
    'load_weights',
    'run_parser',
    'try_steps',
]
