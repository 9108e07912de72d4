# Copyright (c) mmfft authors. All rights reserved.
"""From a config and a command line to a run."""

from .check_dataset import Problem, check_dataset, show_problems
from .check_load import CheckLoadHook
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

__all__ = [
    'CheckLoadHook',
    'LayerDecayOptimWrapperConstructor',
    'Problem',
    'apply_test_options',
    'apply_train_options',
    'build_runner',
    'check_data',
    'check_dataset',
    'config_parser',
    'dump_metrics',
    'load_config',
    'print_config_errors',
    'run_parser',
    'show_problems',
]
