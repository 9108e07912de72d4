# Copyright (c) mmfft authors. All rights reserved.
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from inspect import signature
from pathlib import Path

import mmcv
import torch
from mmengine.dist import get_rank, get_world_size, is_main_process
from mmengine.dist import utils as dist_utils
from mmengine.hooks import Hook
from mmengine.registry import HOOKS as MMENGINE_HOOKS

from ...errors import require_whole_number
from ...openmmlab.scopes import class_of, leaf_datasets
from ...openmmlab.test_pipeline import image_reader, loads_bgr
from ...registry import HOOKS
from ...visualization.pictures import as_picture

# The ways in which the toolboxes' hooks draw a sample.
_DRAW = ('add_datasample', 'visualize_cls')
# Pictures keep these endings, any other image becomes a PNG.
_SUFFIXES = ('.png', '.jpg', '.jpeg')


@HOOKS.register_module()
class ShowHook(Hook):
    """Draw the predictions of a test, in each toolbox in the same way.

    The toolbox's own visualization hook draws, with its own settings. On its
    own, mmpretrain's draws one sample of an interval, mmdet's writes below the
    work directory and mmseg's to the visualizer's backends, images of the same
    name replace each other, and of several processes only the first draws.

    A picture has the name of its image, below ``out_dir`` and those folders
    that not all images of the test share. A sample without a file has its
    index for a name.

    Args:
        hook (dict): Config of the toolbox's visualization hook.
        out_dir (str, optional): Folder for the pictures. Defaults to none.
        num (int, optional): Number of images that are drawn, the first of the
            test. Defaults to all.
        show (bool): Whether to show the images of the main process in a
            window. Defaults to False.
        wait_time (float): Seconds between windows. Defaults to 2.

    Raises:
        ConfigError: If ``num`` is not positive.
    """

    def __init__(
        self,
        hook: dict,
        out_dir: str | None = None,
        num: int | None = None,
        show: bool = False,
        wait_time: float = 2,
    ):
        if num is not None:
            require_whole_number('--show-num', num, 1)
        self.out_dir = out_dir
        self.num = num
        known = signature(class_of(MMENGINE_HOOKS, hook)).parameters
        self._hook = MMENGINE_HOOKS.build(
            {
                **hook,
                'show': show and is_main_process(),
                'wait_time': wait_time,
                **{key: True for key in ('draw', 'enable') if key in known},
            }
        )
        # mmpretrain's would draw only one sample of an interval.
        self._hook.interval = 1
        self._names: list[str] = []
        self._done = 0
        self._read = None
        self._is_bgr = True

    def before_test_epoch(self, runner) -> None:
        """Choose the names of the pictures, the same in all processes."""
        dataset = runner.test_dataloader.dataset
        (leaf, *_) = leaf_datasets(runner.cfg.test_dataloader.dataset)
        steps = leaf.get('pipeline') or []
        self._read = image_reader(steps)
        self._is_bgr = loads_bgr(steps)
        self._names = picture_names(dataset)
        self._done = 0
        with _counted_as_main():
            visualizer = self._hook._visualizer
            visualizer.dataset_meta = getattr(dataset, 'metainfo', None)

    def after_test_iter(
        self, runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        """Draw the samples of a batch.

        Args:
            runner (Runner): Runner of the test.
            batch_idx (int): Index of the batch.
            data_batch (dict): Batch as the model took it.
            outputs (Sequence): Data samples with the predictions.
        """
        end = len(self._names)
        if self.num is not None:
            end = min(end, self.num)
        for place, sample in enumerate(outputs):
            index = get_rank() + self._done * get_world_size()
            self._done += 1
            # The last batches may be filled up with the first samples.
            if index < end:
                one = self._only(data_batch, place)
                into = self._into_folder(self._names[index])
                with into, self._reading(getattr(sample, 'img_path', None)):
                    self._hook.after_test_iter(
                        runner, batch_idx, one, [sample]
                    )

    def _only(self, data_batch: dict, place: int) -> dict:
        """One sample of a batch, visible, without its mirror of ``--tta``."""
        inputs = data_batch['inputs']
        if isinstance(inputs[0], (list, tuple)) or inputs[0].dim() == 4:
            inputs = inputs[0]
        pixels = inputs[place].permute(1, 2, 0).cpu().numpy()
        picture = torch.from_numpy(as_picture(pixels, self._is_bgr))
        return dict(data_batch, inputs=[picture.permute(2, 0, 1)])

    @contextmanager
    def _reading(self, path: str | None) -> Iterator[None]:
        """Let the hooks of mmdet and mmseg read an image as the test does."""

        def read(content: bytes, *args, **kwargs):
            mmcv.imfrombytes = original  # which the transforms call, too
            return as_picture(self._read(path), self._is_bgr)

        original = mmcv.imfrombytes
        mmcv.imfrombytes = read
        try:
            yield
        finally:
            mmcv.imfrombytes = original

    @contextmanager
    def _into_folder(self, name: str) -> Iterator[None]:
        if self.out_dir is None:
            yield
            return
        visualizer = self._hook._visualizer
        path = os.path.join(self.out_dir, name)
        self._hook._visualizer = _FileVisualizer(visualizer, path)
        try:
            with _counted_as_main():
                yield
        finally:
            self._hook._visualizer = visualizer


class _FileVisualizer:
    """A visualizer that draws into a file, whatever its caller says."""

    def __init__(self, visualizer, path: str):
        self.visualizer = visualizer
        self.path = path

    def __getattr__(self, name: str):
        value = getattr(self.visualizer, name)
        return partial(self._draw, value) if name in _DRAW else value

    def _draw(self, draw, *args, **kwargs):
        return draw(*args, **{**kwargs, 'out_file': self.path})


@contextmanager
def _counted_as_main() -> Iterator[None]:
    """Let mmengine's visualizer work in a process other than the first."""
    original = dist_utils.is_main_process
    dist_utils.is_main_process = lambda group=None: True
    try:
        yield
    finally:
        dist_utils.is_main_process = original


def picture_names(dataset) -> list[str]:
    """Name the pictures of a data set after its images.

    Args:
        dataset (Dataset): Data set of a toolbox, or a wrapper of data sets.

    Returns:
        list[str]: Path of each sample's picture, relative to the folder that
        all images share.
    """
    read = getattr(dataset, 'get_data_info', lambda index: {})
    paths = [read(index).get('img_path') for index in range(len(dataset))]
    if not all(isinstance(path, (str, Path)) for path in paths):
        return [f'{index:06}.png' for index in range(len(paths))]
    paths = [os.path.abspath(path) for path in paths]
    shared = os.path.commonpath([os.path.dirname(path) for path in paths])
    names = (os.path.relpath(path, shared) for path in paths)
    return [
        name if name.lower().endswith(_SUFFIXES) else f'{name}.png'
        for name in names
    ]
