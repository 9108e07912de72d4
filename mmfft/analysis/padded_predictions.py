# Copyright (c) mmfft authors. All rights reserved.
"""What a detector or a segmentor finds in an image, alone and padded."""

import math
from collections.abc import Sequence
from copy import deepcopy
from typing import NamedTuple

import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS
from torch import Tensor, nn
from torchvision.ops import box_iou

from ..datasets.paths import check_data
from ..errors import ConfigError, require_whole_number
from ..openmmlab.scopes import enter_scope

Size = tuple[int, int]


class Padding(NamedTuple):
    """How far an image is padded on the right and below.

    Args:
        divisor (int): Number of which the sides become multiples. Defaults
            to 1.
        factor (float): Sides of the largest image in the batch, relative to
            those of the image. Defaults to 1, for an image alone.
    """

    divisor: int = 1
    factor: float = 1.0

    def __str__(self):
        if self.factor > 1:
            return f'neighbour {self.factor:g} x'
        return f'multiple of {self.divisor}'

    def neighbour(self, size: Size) -> Size:
        """``(H, W)`` of the largest image in the batch."""
        # 1.1 x 10 is 11, not 12.
        height, width = (math.ceil(round(n * self.factor, 6)) for n in size)
        return height, width

    def apply(self, size: Size) -> Size:
        """``(H, W)`` to which an image is padded."""
        height, width = (
            math.ceil(n / self.divisor) * self.divisor
            for n in self.neighbour(size)
        )
        return height, width


ALONE = Padding()


def read_samples(
    cfg: Config, count: int, crop: Size | None = None
) -> list[dict]:
    """Read samples of the test of a config by its own pipeline.

    Args:
        cfg (Config): Config of mmpretrain, mmdet or mmseg.
        count (int): Largest number of samples, evenly spaced in the data set.
        crop (tuple[int, int], optional): ``(H, W)`` of the upper left part
            to which the images are cut. Defaults to none.

    Returns:
        list[dict]: ``inputs``, an image of shape ``(C, H, W)``, and
        ``data_samples``.

    Raises:
        ConfigError: If the config has no test or its data do not exist, if
            the pipeline makes something else of an image, or if an image is
            smaller than the crop.
    """
    require_whole_number('--count', count, 1)
    loader = cfg.get('test_dataloader')
    if not loader:
        raise ConfigError(
            'the images are those of test_dataloader, which the config does '
            'not have'
        )
    check_data(cfg, 'test')
    enter_scope(cfg)
    dataset = DATASETS.build(loader.dataset)
    step = max(1, len(dataset) // count)
    samples = [dataset[i] for i in range(0, len(dataset), step)[:count]]
    if not samples:
        raise ConfigError('the data set of test_dataloader has no image')
    for sample in samples:
        if not isinstance(sample.get('inputs'), Tensor):
            raise ConfigError(
                'the pipeline of test_dataloader must make one tensor of an '
                f'image, got {type(sample.get("inputs")).__name__}'
            )
        if crop is not None:
            _cut(sample, crop)
    return samples


def _cut(sample: dict, crop: Size) -> None:
    image = sample['inputs']
    if image.shape[1] < crop[0] or image.shape[2] < crop[1]:
        raise ConfigError(
            f'--crop {crop[0]} {crop[1]}: the test pipeline makes an image of '
            f'{image.shape[1]} x {image.shape[2]} (height x width), which is '
            'smaller'
        )
    sample['inputs'] = image[:, : crop[0], : crop[1]]
    # Predictions then have the pixels of the part.
    sample['data_samples'].set_metainfo(
        dict(img_shape=crop, ori_shape=crop, scale_factor=(1.0, 1.0))
    )


def set_padding(model: nn.Module, padding: Padding, size: Size) -> None:
    """Set how the data preprocessor of a model pads in a test.

    Args:
        model (nn.Module): Model of mmpretrain, mmdet or mmseg.
        padding (Padding): Padding of the image.
        size (tuple[int, int]): ``(H, W)`` of the image.
    """
    preprocessor = model.data_preprocessor
    if hasattr(preprocessor, 'test_cfg'):  # mmseg's
        preprocessor.test_cfg = dict(size=padding.apply(size))
    else:
        preprocessor.pad_size_divisor = padding.divisor


def normalized(model: nn.Module, sample: dict) -> Tensor:
    """Image ``(1, C, H, W)`` as its backbone is given it, without padding.

    Args:
        model (nn.Module): Model of mmpretrain, mmdet or mmseg.
        sample (dict): One of :func:`read_samples`.
    """
    set_padding(model, ALONE, tuple(sample['inputs'].shape[1:]))
    batch = pseudo_collate([deepcopy(sample)])
    return model.data_preprocessor(batch, False)['inputs']


@torch.no_grad()
def predict(model: nn.Module, sample: dict, padding: Padding = ALONE):
    """Predict for an image that is padded by the toolbox itself.

    Args:
        model (nn.Module): Detector of mmdet or segmentor of mmseg.
        sample (dict): One of :func:`read_samples`.
        padding (Padding): Padding of the image. A detector gets a neighbour
            in the batch, a segmentor, which tests only images of one size
            together, the size. Defaults to none.

    Returns:
        BaseDataElement: The sample with its predictions.
    """
    size = tuple(sample['inputs'].shape[1:])
    set_padding(model, padding, size)
    batch = [deepcopy(sample)]
    if padding.factor > 1 and not hasattr(model.data_preprocessor, 'test_cfg'):
        batch.append(_neighbour(sample, padding.neighbour(size)))
    return model.test_step(pseudo_collate(batch))[0]


def _neighbour(sample: dict, size: Size) -> dict:
    """A black image: no layer of a model in evaluation mixes images."""
    other = deepcopy(sample)
    other['inputs'] = other['inputs'].new_zeros(len(other['inputs']), *size)
    other['data_samples'].set_metainfo(
        dict(img_shape=size, ori_shape=size, scale_factor=(1.0, 1.0))
    )
    return other


class Objects(NamedTuple):
    """How the objects of one image change.

    Attributes:
        stay (int): Objects that are found both times, in one class.
        vanish (int): Objects that are found only alone.
        appear (int): Objects that are found only padded.
        score (list[float]): Absolute change of each score.
        box (list[float]): Largest move of a side of each box, in pixels.
        mask_iou (list[float]): IoU of both masks; empty without masks.
    """

    stay: int
    vanish: int
    appear: int
    score: list[float]
    box: list[float]
    mask_iou: list[float]


def match_objects(
    alone, padded, score_thr: float = 0.3, iou_thr: float = 0.5
) -> Objects:
    """Match the objects that are found alone to those found when padded.

    Args:
        alone (InstanceData): ``bboxes``, ``scores``, ``labels`` and, if the
            model has them, ``masks``.
        padded (InstanceData): The same for the padded image.
        score_thr (float): Lowest score of an object. Defaults to 0.3.
        iou_thr (float): Lowest IoU of two boxes of one object. Pairs are
            chosen so that the sum of their IoU is largest. Defaults to 0.5.

    Returns:
        Objects: What stays, vanishes and appears, and by how much it changes.
    """
    # mmdet brings it, and the other toolboxes may be without.
    from scipy.optimize import linear_sum_assignment

    alone = alone[alone.scores >= score_thr]
    padded = padded[padded.scores >= score_thr]
    ious = box_iou(alone.bboxes, padded.bboxes)
    ious[alone.labels[:, None] != padded.labels] = 0
    ious[ious < iou_thr] = 0
    rows, columns = linear_sum_assignment(ious.cpu().numpy(), maximize=True)
    pairs = [(i, j) for i, j in zip(rows, columns) if ious[i, j] > 0]
    before, after = (
        torch.tensor(ids, dtype=torch.long, device=alone.scores.device)
        for ids in (zip(*pairs) if pairs else ([], []))
    )
    alone_kept, padded_kept = alone[before], padded[after]
    moves = (alone_kept.bboxes - padded_kept.bboxes).abs()
    return Objects(
        stay=len(pairs),
        vanish=len(alone) - len(pairs),
        appear=len(padded) - len(pairs),
        score=(alone_kept.scores - padded_kept.scores).abs().tolist(),
        box=moves.amax(1).tolist() if pairs else [],
        mask_iou=_mask_ious(alone_kept, padded_kept),
    )


def _mask_ious(alone, padded) -> list[float]:
    if 'masks' not in alone:
        return []
    ious = []
    for one, other in zip(alone.masks, padded.masks):
        one, other = (torch.as_tensor(m).bool() for m in (one, other))
        union = (one | other).sum()
        ious.append(float((one & other).sum() / union) if union else 1.0)
    return ious


def changed_labels(alone: Tensor, padded: Tensor) -> float:
    """Share of the pixels whose label differs."""
    return float((alone != padded).float().mean())


def object_changes(
    pairs: Sequence[tuple], score_thr: float = 0.3
) -> list[Objects]:
    """Match the objects of several images, see :func:`match_objects`.

    Args:
        pairs (Sequence[tuple]): Samples with predictions, alone and padded.
        score_thr (float): Lowest score of an object. Defaults to 0.3.

    Returns:
        list[Objects]: One for each image.

    Raises:
        ConfigError: If the detector predicts no objects.
    """
    if any('pred_instances' not in sample for sample in pairs[0]):
        raise ConfigError(
            'the detector predicts no pred_instances, the boxes that are '
            'compared'
        )
    return [
        match_objects(a.pred_instances, p.pred_instances, score_thr)
        for a, p in pairs
    ]
