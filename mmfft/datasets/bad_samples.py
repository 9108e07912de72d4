# Copyright (c) mmfft authors. All rights reserved.
"""Samples that cannot be used: named, counted, left out up to a limit.

The toolboxes' data sets draw another sample where their pipeline returns
None, but a file that is missing or broken raises in it, in one of the
workers, without the name of the file in most cases.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from ..openmmlab import required  # noqa: F401  isort: skip
from mmengine.dataset import BaseDataset, Compose

from ..errors import ConfigError


class BadSampleError(ConfigError):
    """More samples are bad than may be; the message lists them."""

    def __init__(self, message: str):
        # The worker of a DataLoader hands over its traceback as the message:
        # what was said stands behind the name at its end.
        name = f'{type(self).__module__}.{type(self).__name__}: '
        super().__init__(message.rpartition(name)[2].strip())


class BadSampleList:
    """Names of bad samples in a file, which the workers of all ranks share.

    A line of JSON each, ``[name, reason]``, appended at once.

    Args:
        path (str | Path): The file, made with the first sample.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)

    def read(self) -> dict[str, str]:
        """Reason for each name, in the order of their discovery."""
        if not self.path.exists():
            return {}
        *lines, unfinished = self.path.read_text().split('\n')
        return dict(json.loads(line) for line in lines)

    def add(self, name: str, reason: str) -> None:
        """Append a sample, unless it is there."""
        if name not in self.read():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, 'a') as file:
                file.write(json.dumps([name, reason]) + '\n')


class WatchedPipeline:
    """A data set's pipeline that gives None for a sample it fails on.

    Beside what raises it takes a label image for bad that has another size
    than its image: the transforms would go on with labels beside the pixels
    that they are of, or fail when the batch is made, behind every data set.

    Args:
        pipeline (Compose): Of a data set, or one of these.
        bad_samples (BadSampleList): Where bad ones are named.
        max_bad (int): How many may be in the list; one more raises.
    """

    def __init__(
        self, pipeline: Compose, bad_samples: BadSampleList, max_bad: int
    ):
        # Where others look for them, such as the hooks of mmdet.
        self.transforms = pipeline.transforms
        self.bad_samples = bad_samples
        self.max_bad = max_bad

    def __call__(self, data: dict) -> dict | None:
        """Run the transforms.

        Args:
            data (dict): Of a sample, as the data set has it.

        Returns:
            dict | None: What the transforms return, None for a bad sample.

        Raises:
            BadSampleError: If there are too many.
        """
        name = str(data.get('img_path') or f'sample {data.get("sample_idx")}')
        try:
            return self._run(data)
        # Of the machine, not of the sample.
        except MemoryError:
            raise
        # Whatever the transforms trip over.
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
            f'the label image {data["seg_map_path"]} has {size}, its image '
            f'{image} (height, width)'
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
    """Set a :class:`WatchedPipeline` for every pipeline of a data set.

    Args:
        dataset (Dataset): Of a toolbox, or a wrapper of such, before workers
            have taken their copy of it.
        bad_samples (BadSampleList): Where bad samples are named.
        max_bad (int): How many may be in the list. A data set in test mode
            draws no other sample and gives its first bad one as error.
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
