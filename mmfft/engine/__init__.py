# Copyright (c) mmfft authors. All rights reserved.
"""From a config and a command line to a run."""

from .launch import (
    apply_test_options,
    apply_train_options,
    check_data,
    dump_metrics,
    load_config,
    print_config_errors,
)

__all__ = [
    'apply_test_options',
    'apply_train_options',
    'check_data',
    'dump_metrics',
    'load_config',
    'print_config_errors',
]
