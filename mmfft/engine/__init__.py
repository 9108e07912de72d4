# Copyright (c) mmfft authors. All rights reserved.
"""From a config and a command line to a run."""

from ..openmmlab import required
from .bad_samples_hook import BadSamplesHook
from .check_dataset import Problem, check_dataset, show_problems
from .check_load import CheckLoadHook
from .check_loss import CheckLossHook
from .checkpoint import AtomicCheckpointHook, AtomicLocalBackend, find_newest
from .filter_vis import FilterVisHook
from .launch import (
    apply_test_options,
    apply_train_options,
    build_runner,
    check_data,
    config_parser,
    dump_metrics,
    load_config,
    print_config_errors,
    run_parser,
)
from .layer_decay import LayerDecayOptimWrapperConstructor
from .resume import ExactResumeHook

__all__ = [
    'AtomicCheckpointHook',
    'AtomicLocalBackend',
    'BadSamplesHook',
    'CheckLoadHook',
    'CheckLossHook',
    'ExactResumeHook',
    'FilterVisHook',
    'LayerDecayOptimWrapperConstructor',
    'Problem',
    'apply_test_options',
    'apply_train_options',
    'build_runner',
    'check_data',
    'check_dataset',
    'config_parser',
    'dump_metrics',
    'find_newest',
    'load_config',
    'print_config_errors',
    'run_parser',
    'show_problems',
]
