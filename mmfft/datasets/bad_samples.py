# Copyright (c) mmfft authors. All rights reserved.
"""Samples that cannot be used: named, counted, left out up to a limit.

The toolboxes' data sets draw another sample if their pipeline returns None.
But a missing or broken file makes the pipeline raise an error, in one of the
workers and in most cases without the name of the file.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from ..openmmlab import required  # noqa: F401  isort: skip
from mmengine.dataset import BaseDataset, Compose

from ..errors import ConfigError


class BadSampleError(ConfigError):
    """More samples are bad than allowed; the message lists them."""

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

    Args:
        pipeline (Compose): Pipeline of a data set, or one of this class.
        bad_samples (BadSampleList): List to which bad samples are added.
        max_bad (int): Largest length of the list; one more is an error.
    """

    def __init__(
        self, pipeline: Compose, bad_samples: BadSampleList, max_bad: int
    ):
        # Under the name by which others, such as mmdet's hooks, find them.
        self.transforms = pipeline.transforms
        self.bad_samples = bad_samples
        self.max_bad = max_bad

    def __call__(self, data: dict) -> dict | None:
        """Run the transforms.

        Args:
            data (dict): Data of a sample, as the data set has it.

        Returns:
            dict | None: What the transforms return, None for a bad sample.

        Raises:
            BadSampleError: If there are too many bad samples.
        """
        name = str(data.get('img_path') or f'sample {data.get("sample_idx")}')
        try:
            return self._run(data)
        # A problem of the machine, not of the sample.
        except MemoryError:
            raise
        # Transforms raise errors of any kind.
        except Exception as error:
            reason = f'{type(error).__name__}: {error}'
            self.bad_samples.add(name, ' '.join(reason.split()))
            found = self.bad_samples.read()
            if len(found) > self.max_bad:
                raise BadSampleError(_too_many(found, self.max_bad)) from error
            return None

    def _run(self, data: dict) -> dict | None:
        labels_seen = False
        for transform in self.transforms:
            data = transform(data)
            if data is None:
                return None
            if not labels_seen and 'gt_seg_map' in data:
                labels_seen = True
                _check_labels(data)
        return data


def _check_labels(data: dict) -> None:
    size, image = data['gt_seg_map'].shape, tuple(data['ori_shape'])
    if size != image:
        raise ValueError(
            f'the label image {data["seg_map_path"]} has the size {size}, but '
            f'its image has {image} (height, width)'
        )


def _too_many(found: dict[str, str], max_bad: int) -> str:
    what = (
        f'more than max_bad={max_bad} samples cannot be used'
        if max_bad
        else 'a sample cannot be used'
    )
    lines = [f'  {name}: {reason}' for name, reason in found.items()]
    return '\n'.join([f'{what}:', *lines])


def watch(dataset, bad_samples: BadSampleList, max_bad: int) -> None:
    """Replace every pipeline of a data set with a :class:`WatchedPipeline`.

    Args:
        dataset (Dataset): Data set of a toolbox, or a wrapper of data sets,
            before workers have copied it.
        bad_samples (BadSampleList): List to which bad samples are added.
        max_bad (int): Largest length of the list. A data set in test mode
            draws no other sample, so its first bad one is an error.
    """
    for leaf in _leaves(dataset):
        leaf.pipeline = WatchedPipeline(
            leaf.pipeline, bad_samples, 0 if leaf.test_mode else max_bad
        )


def _leaves(dataset) -> Iterator[BaseDataset]:
    """Data sets that read samples, inside wrappers."""
    if isinstance(dataset, BaseDataset):
        yield dataset
    for name in ('dataset', '_dataset', 'datasets'):
        inner = getattr(dataset, name, None) or ()
        for one in inner if isinstance(inner, (list, tuple)) else (inner,):
            yield from _leaves(one)
