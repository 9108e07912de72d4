# Copyright (c) mmfft authors. All rights reserved.
from mmengine.hooks import Hook

from ...registry import HOOKS


@HOOKS.register_module()
class BoundHistoryHook(Hook):
    """Keep only as much history of losses and times as the log averages.

    mmengine keeps up to a million values of each in memory and in every
    checkpoint, and copies all of them to append one: with 300,000 values this
    takes 2 ms an iteration for each loss. The files in ``vis_data`` have the
    whole course.

    The last ``length`` values are kept, or as many as a loader has batches if
    that is more. Nothing is dropped if the log averages over all iterations
    (``window_size='global'`` of ``log_processor``).

    Args:
        length (int): Least number of values to keep. Defaults to 10000.
    """

    def __init__(self, length: int = 10000):
        self.length = length
        self._kept: int | None = None

    def before_train(self, runner) -> None:
        """Find how many values the log may need."""
        processor = runner.log_processor
        windows = [processor.window_size]
        windows += [c.get('window_size') for c in processor.custom_cfg]
        if any(window in (None, 'global') for window in windows):
            return
        loops = [runner.train_loop, runner.val_loop]
        self._kept = max(
            self.length,
            *(window for window in windows if window != 'epoch'),
            *(len(loop.dataloader) for loop in loops if loop is not None),
        )

    def after_train_iter(self, runner, *args, **kwargs) -> None:
        """Bound the history, of what is new or was resumed too."""
        if self._kept is not None:
            for history in runner.message_hub.log_scalars.values():
                history.max_length = self._kept
