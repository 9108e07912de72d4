# Copyright (c) mmfft authors. All rights reserved.
"""A hook that the configs of test_dist.py import."""

import os
import signal
from pathlib import Path

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class KillWorker(Hook):
    """Kill the process of one rank, once in each of the given epochs."""

    def __init__(self, rank, epochs):
        self.rank = rank
        self.epochs = epochs

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        mark = Path(runner.work_dir, f'killed_in_{runner.epoch}')
        if (
            get_rank() == self.rank
            and runner.epoch in self.epochs
            and batch_idx == 1
            and not mark.exists()
        ):
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
