# Copyright (c) mmfft authors. All rights reserved.
"""Pictures of the samples that a pipeline makes, with their annotations."""

from functools import partial
from pathlib import Path

import mmcv
from mmcv.transforms import LoadAnnotations, Resize
from mmengine.config import Config
from mmengine.registry import DATASETS, TRANSFORMS, VISUALIZERS

from ..engine.config import require_display, use_toolbox_visualizer
from ..engine.hooks.show_hook import picture_names
from ..errors import ConfigError, require_whole_number
from ..openmmlab.scopes import (
    choose_by_scope,
    class_of,
    enter_scope,
    is_subclass,
    leaf_datasets,
)
from ..openmmlab.test_pipeline import loads_bgr
from ..visualization.pictures import as_picture


def browse(
    cfg: Config,
    split: str = 'train',
    out_dir: str | Path | None = None,
    num: int | None = None,
    wait_time: float = 2,
) -> int:
    """Draw the first samples of a data set as the model sees them.

    The toolbox's own visualizer draws. What a batch does to the samples
    (normalization, padding, Mixup) is not shown. In a test, annotations may be
    those of the image as it was before it was resized; then they are drawn on
    an image of that size.

    Args:
        cfg (Config): Config of mmpretrain, mmdet or mmseg.
        split (str): ``'train'``, ``'val'`` or ``'test'``. Defaults to
            ``'train'``.
        out_dir (str | Path, optional): Folder for the pictures, which have
            the names of their images. Defaults to none: they are shown in
            windows.
        num (int, optional): Number of samples. Defaults to all.
        wait_time (float): Seconds between windows. Defaults to 2.

    Returns:
        int: Number of samples that were drawn.

    Raises:
        ConfigError: If the config is for another toolbox or has no such
            split, there is no display for windows, or a sample cannot be
            loaded.
    """
    draw_with = choose_by_scope(
        cfg,
        dict(mmpretrain=_classified, mmdet=_detected, mmseg=_segmented),
    )
    if num is not None:
        require_whole_number('--show-number', num, 1)
    if out_dir is None:
        require_display('--output-dir')
    loader = cfg.get(f'{split}_dataloader')
    if not loader:
        raise ConfigError(f'the config has no {split}_dataloader')
    enter_scope(cfg)
    dataset = DATASETS.build(loader.dataset)
    use_toolbox_visualizer(cfg)
    # Its backends would need a work directory.
    visualizer = VISUALIZERS.build(
        {'name': 'browse', **cfg.visualizer, 'vis_backends': None}
    )
    visualizer.dataset_meta = dataset.metainfo
    draw = partial(draw_with, visualizer, dataset.metainfo)
    names = _distinct(picture_names(dataset)[:num])
    steps = next(leaf_datasets(loader.dataset)).get('pipeline') or []
    before = _annotated_after_resizing(steps, cfg)
    is_bgr = loads_bgr(steps)
    for index, name in enumerate(names):
        sample = dataset[index]
        if sample is None:
            raise ConfigError(f'sample {index} ({name}) cannot be loaded')
        pixels = sample['inputs'].permute(1, 2, 0).cpu().numpy()
        picture = as_picture(pixels, is_bgr)
        data_sample = sample['data_samples']
        if before and 'ori_shape' in data_sample:
            height, width = data_sample.ori_shape[:2]
            picture = mmcv.imresize(picture, (width, height))
        out = dict(show=True, wait_time=wait_time)
        if out_dir is not None:
            out = dict(out_file=str(Path(out_dir, name)))
        draw(name, picture, data_sample, **out)
    return len(names)


def _annotated_after_resizing(steps: list[dict], cfg: Config) -> bool:
    """Whether annotations are loaded after the image has been resized."""
    classes = [class_of(TRANSFORMS, step, cfg) for step in steps]
    loads = [is_subclass(cls, LoadAnnotations) for cls in classes]
    resizes = [is_subclass(cls, Resize) for cls in classes]
    return any(
        resized and any(loads[place:]) for place, resized in enumerate(resizes)
    )


def _classified(
    visualizer, metainfo: dict, name: str, picture, sample, **out
) -> None:
    visualizer.visualize_cls(
        picture,
        sample,
        classes=metainfo.get('classes'),
        draw_pred=False,
        name=name,
        **out,
    )


def _detected(
    visualizer, metainfo: dict, name: str, picture, sample, **out
) -> None:
    truth = sample.gt_instances
    # The visualizer draws arrays of numbers, not boxes and masks of mmdet.
    if 'bboxes' in truth and hasattr(truth.bboxes, 'tensor'):
        truth.bboxes = truth.bboxes.tensor
    if 'masks' in truth and hasattr(truth.masks, 'to_ndarray'):
        truth.masks = truth.masks.to_ndarray().astype(bool)
    visualizer.add_datasample(name, picture, sample, draw_pred=False, **out)


def _segmented(
    visualizer, metainfo: dict, name: str, picture, sample, **out
) -> None:
    visualizer.add_datasample(name, picture, sample, draw_pred=False, **out)


def _distinct(names: list[str]) -> list[str]:
    """Number names that occur again, as in a repeated data set."""
    seen: dict[str, int] = {}
    distinct = []
    for name in names:
        seen[name] = again = seen.get(name, -1) + 1
        path = Path(name)
        distinct.append(
            str(path.with_stem(f'{path.stem}_{again}')) if again else name
        )
    return distinct
