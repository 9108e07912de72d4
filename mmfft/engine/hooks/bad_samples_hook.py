# Copyright (c) mmfft authors. All rights reserved.
from pathlib import Path

from mmengine.hooks import Hook

from ...datasets.bad_samples import BadSampleList, watch
from ...errors import require_whole_number
from ...registry import HOOKS


@HOOKS.register_module()
class BadSamplesHook(Hook):
    """Continue training despite a few broken files, and report them.

    A training sample whose pipeline raises an error is named once in the log
    and in ``bad_samples.jsonl`` beside it; its data set draws another sample
    instead. After more than ``max_bad`` of them, training stops and lists
    them. It stops at once if the first samples all fail in the same way: the
    config is wrong then. Validation and test stop at the first bad sample,
    since a metric over a part of the data would be meaningless.

    Args:
        max_bad (int): Number of bad training samples that are tolerated.
            Defaults to 100.

    Raises:
        ConfigError: If ``max_bad`` is not a whole number or is negative.
    """

    def __init__(self, max_bad: int = 100):
        require_whole_number('max_bad', max_bad, 0)
        self.max_bad = max_bad
        self._bad_samples: BadSampleList | None = None
        self._said = 0

    def before_train_epoch(self, runner) -> None:
        """Watch the training data, before its workers start."""
        if self._bad_samples is None:
            # The folder is new for each run: repaired files count as good.
            self._bad_samples = BadSampleList(
                Path(runner.log_dir) / 'bad_samples.jsonl'
            )
        dataset = runner.train_dataloader.dataset
        watch(dataset, self._bad_samples, self.max_bad)

    def before_val_epoch(self, runner) -> None:
        """Watch the validation data."""
        self._watch_strictly(runner, runner.val_dataloader.dataset)

    def before_test_epoch(self, runner) -> None:
        """Watch the test data."""
        self._watch_strictly(runner, runner.test_dataloader.dataset)

    @staticmethod
    def _watch_strictly(runner, dataset) -> None:
        path = Path(runner.log_dir) / 'bad_evaluation_samples.jsonl'
        watch(dataset, BadSampleList(path), 0)

    def after_train_iter(
        self, runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        """Log the bad samples that were found since the last step."""
        found = self._bad_samples.read()
        for i, (name, reason) in enumerate(found.items(), 1):
            if i > self._said:
                runner.logger.warning(
                    f'bad sample {i} (at most {self.max_bad}) left out: '
                    f'{name}: {reason}'
                )
        self._said = len(found)
