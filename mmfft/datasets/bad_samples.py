# Copyright (c) mmfft authors. All rights reserved.
"""Samples that cannot be used: named, counted, left out up to a limit.

The toolboxes' data sets draw another sample if their pipeline returns None.
But a missing or broken file makes the pipeline raise an error, in one of the
workers and in most cases without the name of the file.
"""

import json
import math
import traceback
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from ..openmmlab import required  # noqa: F401  isort: skip
from mmengine.dataset import BaseDataset, Compose

from ..errors import ConfigError

# Number of samples that must fail alike, before any could be used, for the
# config to be at fault. If half of the samples were bad, one run in a thousand
# would begin like that.
_FIRST = 10


class BadSampleError(ConfigError):
    """More samples are bad than allowed, or all; the message says why."""

    def __init__(self, message: str):
        # A worker of a DataLoader passes its traceback as the message: the
        # original message follows the name at its end.
        name = f'{type(self).__module__}.{type(self).__name__}: '
        super().__init__(message.rpartition(name)[2].strip())


class BadSampleList:
    """Names of bad samples in a file, which the workers of all ranks share.

    For each sample a line of JSON, ``[name, reason]``, is appended at once.

    Args:
        path (str | Path): Path of the file, made with the first sample.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)

    def read(self) -> dict[str, str]:
        """Read the reason for each name, in the order of discovery."""
        if not self.path.exists():
            return {}
        *lines, unfinished = self.path.read_text().split('\n')
        return dict(json.loads(line) for line in lines)

    def add(self, name: str, reason: str) -> None:
        """Append a sample, unless it is already in the list."""
        if name not in self.read():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, 'a') as file:
                file.write(json.dumps([name, reason]) + '\n')


class WatchedPipeline:
    """A data set's pipeline that returns None for a sample on which it fails.

    Samples that raise an error are bad, and so are label images of another
    size than their image: the transforms would go on with misplaced labels,
    or the batch could not be made, too late to draw another sample.

    If no sample was usable yet, and the first ones all fail in the same way,
    the config is wrong and not the samples: the first error that says so
    stops the run.

    Args:
        pipeline (Compose): Pipeline of a data set, or one of this class.
        bad_samples (BadSampleList): List to which bad samples are added.
        max_bad (int): Largest length of the list; one more is an error.
        size (int, optional): Number of samples of the data set. Defaults to
            unknown.
        max_refetch (int): Number of other samples that the data set draws in
            place of one before it gives up. Defaults to mmengine's 1000.
    """

    def __init__(
        self,
        pipeline: Compose,
        bad_samples: BadSampleList,
        max_bad: int,
        size: int | None = None,
        max_refetch: int = 1000,
    ):
        # Under the name by which others, such as mmdet's hooks, find them.
        self.transforms = getattr(pipeline, 'transforms', [pipeline])
        self.bad_samples = bad_samples
        self.max_bad = max_bad
        self.size = math.inf if size is None else size
        self.max_refetch = max_refetch
        self._any_used = False
        # The samples that failed before any was used, for each kind of error.
        self._failed: dict[tuple[type, str], set[str]] = defaultdict(set)
        # Why the last samples were left out, since one was used.
        self._left_out: Counter[str] = Counter()

    def __call__(self, data: dict) -> dict | None:
        """Run the transforms.

        Args:
            data (dict): Data of a sample, as the data set has it.

        Returns:
            dict | None: What the transforms return, None for a bad sample.

        Raises:
            BadSampleError: If there are too many bad samples, or none can be
                used.
        """
        name = str(data.get('img_path') or f'sample {data.get("sample_idx")}')
        labels_seen = False
        for transform in self.transforms:
            step = type(transform).__name__
            try:
                data = transform(data)
                if not labels_seen and data and 'gt_seg_map' in data:
                    labels_seen = True
                    _check_labels(data)
            # A problem of the machine, not of the sample.
            except MemoryError:
                raise
            # Transforms raise errors of any kind.
            except Exception as error:
                step = _innermost(error) or step
                self._add_bad(name, step, error)
                self._leave_out(name, f'{type(error).__name__} in {step}')
                return None
            if data is None:
                self._leave_out(name, f'{step} returned None')
                return None
        self._any_used = True
        self._left_out.clear()
        return data

    def _add_bad(self, name: str, step: str, error: Exception) -> None:
        reason = f'{type(error).__name__}: {error} (in {step})'
        self.bad_samples.add(name, ' '.join(reason.split()))
        found = self.bad_samples.read()
        if len(found) > self.max_bad:
            raise BadSampleError(_too_many(found, self.max_bad)) from error
        if self._any_used:
            return
        alike = self._failed[type(error), step]
        alike.add(name)
        failed = set().union(*self._failed.values())
        if len(alike) >= min(_FIRST, self.size):
            raise BadSampleError(self._mistake(alike, found)) from error
        if len(failed) >= self.size:
            raise BadSampleError(
                _listed(
                    f'none of the {self.size} samples can be used',
                    {name: found[name] for name in sorted(failed)},
                )
            ) from error

    def _mistake(self, alike: set[str], found: dict[str, str]) -> str:
        steps = [type(transform).__name__ for transform in self.transforms]
        names = sorted(alike)[:3]
        message = _listed(
            f'no sample could be used, and {len(alike)} failed in the same '
            'way, so the config is wrong and not the samples',
            {name: found[name] for name in names},
        )
        if 'FileNotFoundError' in found[names[0]]:
            message += '\nDo data_root and data_prefix of the data set fit?'
        return f'{message}\nIts pipeline: {", ".join(steps)}'

    def _leave_out(self, name: str, why: str) -> None:
        self._left_out[why] += 1
        # Before the data set gives up, without a reason.
        if self._left_out.total() > self.max_refetch:
            reasons = ', '.join(
                f'{why} ({times} times)'
                for why, times in self._left_out.most_common()
            )
            raise BadSampleError(
                f'no sample to be used after {self._left_out.total()} draws, '
                f'the last of which was {name}: {reasons}'
            )


class _WatchedReading:
    """A data set's ``prepare_data``, which also watches a later pipeline.

    Hooks such as mmdet's ``PipelineSwitchHook`` replace the pipeline in the
    course of a training, in the main process or in the order that they like.
    """

    def __init__(
        self, dataset: BaseDataset, bad_samples: BadSampleList, max_bad: int
    ):
        self.dataset = dataset
        self.bad_samples = bad_samples
        self.max_bad = max_bad

    def __call__(self, idx: int):
        self.watch()
        return type(self.dataset).prepare_data(self.dataset, idx)

    def watch(self) -> None:
        dataset = self.dataset
        pipeline = dataset.pipeline
        if getattr(pipeline, 'bad_samples', None) is self.bad_samples:
            return
        # A data set in test mode draws no other sample.
        strict = dataset.test_mode
        dataset.pipeline = WatchedPipeline(
            pipeline,
            self.bad_samples,
            0 if strict else self.max_bad,
            len(dataset),
            0 if strict else dataset.max_refetch,
        )


def _innermost(error: Exception) -> str | None:
    """Name of the transform that raised an error, inside wrappers of it."""
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    steps = [
        type(frame.f_locals.get('self')).__name__
        for frame in frames
        if frame.f_code.co_name == 'transform'
    ]
    return steps[-1] if steps else None


def _check_labels(data: dict) -> None:
    size, image = data['gt_seg_map'].shape, tuple(data['ori_shape'])
    path = data['seg_map_path']
    if len(size) != 2:
        raise ValueError(
            f'the label image {path} has the shape {size}; it must have one '
            'channel, with the number of a class at each pixel'
        )
    if size != image:
        raise ValueError(
            f'the label image {path} has the size {size}, but its image has '
            f'{image} (height, width)'
        )


def _too_many(found: dict[str, str], max_bad: int) -> str:
    return _listed(
        f'more than max_bad={max_bad} samples cannot be used'
        if max_bad
        else 'a sample cannot be used',
        found,
    )


def _listed(what: str, reasons: dict[str, str]) -> str:
    lines = [f'  {name}: {reason}' for name, reason in reasons.items()]
    return '\n'.join([f'{what}:', *lines])


def watch(dataset, bad_samples: BadSampleList, max_bad: int) -> None:
    """Replace every pipeline of a data set with a :class:`WatchedPipeline`.

    Pipelines that the data set is given later are replaced too, as soon as it
    reads with them.

    Args:
        dataset (Dataset): Data set of a toolbox, or a wrapper of data sets,
            before workers have copied it.
        bad_samples (BadSampleList): List to which bad samples are added.
        max_bad (int): Largest length of the list. A data set in test mode
            draws no other sample, so its first bad one is an error.
    """
    for leaf in _leaves(dataset):
        leaf.prepare_data = _WatchedReading(leaf, bad_samples, max_bad)
        leaf.prepare_data.watch()


def _leaves(dataset) -> Iterator[BaseDataset]:
    """Data sets that read samples, inside wrappers."""
    if isinstance(dataset, BaseDataset):
        yield dataset
    for name in ('dataset', '_dataset', 'datasets'):
        inner = getattr(dataset, name, None) or ()
        for one in inner if isinstance(inner, (list, tuple)) else (inner,):
            yield from _leaves(one)
