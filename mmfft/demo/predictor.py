# Copyright (c) mmfft authors. All rights reserved.
"""Predictions for an image and the filters behind them, for the demo page."""

import statistics
from collections import Counter
from copy import deepcopy
from pathlib import Path

import mmcv
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, TRANSFORMS
from torch import nn

from ..engine import image_channels, load_weights
from ..engine.models import require_checkpoint
from ..errors import ConfigError
from ..measure import time_in_turns
from ..openmmlab.scopes import (
    choose_by_scope,
    class_of,
    enter_scope,
    leaf_datasets,
)
from ..visualization.filters import draw_filters, read_filters, see_image

# Lowest score of a detection that is shown.
SCORE = 0.5
# Number of classes that a classification names, the most likely first.
CLASSES = 3


class Predictor:
    """A model that is run by its toolbox's own inferencer.

    Args:
        cfg (Config): Config of mmpretrain, mmdet or mmseg.
        checkpoint (str): Path or URL of a file, or ``mmfft://`` and a name.
        device (str): Device on which the model runs. Defaults to ``'cpu'``.

    Raises:
        ConfigError: If the config is for another toolbox, or as in
            :func:`load_weights`.
    """

    def __init__(self, cfg: Config, checkpoint: str, device: str = 'cpu'):
        tasks = dict(mmpretrain=_classify, mmdet=_detect, mmseg=_segment)
        task = choose_by_scope(cfg, tasks)
        require_checkpoint(checkpoint)
        self.cfg = cfg
        self.device = torch.device(device)
        enter_scope(cfg)
        self._infer, self._answer = task(_plain(cfg), checkpoint, device)
        # The inferencers only warn of weights that the file lacks, unless the
        # backbone is one of ours.
        load_weights(self._infer.model, checkpoint)

    @property
    def model(self) -> nn.Module:
        """The toolbox's model, in evaluation mode."""
        return self._infer.model

    def predict(self, path: str | Path) -> tuple[np.ndarray, str]:
        """Classify, detect or segment.

        Args:
            path (str | Path): Path of the image.

        Returns:
            tuple[np.ndarray, str]: Picture of the result, RGB uint8, and a
            line that describes it.

        Raises:
            ConfigError: If the image cannot be read.
        """
        _check(path)
        enter_scope(self.cfg)
        # By its path: in an array, mmdet and mmseg would swap the colours.
        return self._answer(self._infer, str(path))

    def filters(self, path: str | Path) -> np.ndarray:
        """Draw the filters at work on an image, RGB uint8.

        Args:
            path (str | Path): Path of the image.

        Raises:
            ConfigError: If the image cannot be read.
        """
        _check(path)
        seen = see_image(self.model, self.cfg, path)
        return draw_filters(read_filters(self.model, seen=seen), 6, seen.image)

    @torch.inference_mode()
    def latency(self, height: int, width: int, rounds: int = 5) -> float:
        """Measure the median seconds of the backbone for one image.

        Args:
            height (int): Height of the image in pixels.
            width (int): Width of the image in pixels.
            rounds (int): Number of measurements. Defaults to 5.

        Raises:
            ConfigError: If the size is not positive.
        """
        if min(height, width) < 1:
            raise ConfigError(f'size {height}x{width} must be positive')
        channels = image_channels(self.model.backbone)
        image = torch.randn(1, channels, height, width, device=self.device)
        run = dict(backbone=lambda: self.model.backbone(image))
        seconds = time_in_turns(run, self.device, rounds)
        return statistics.median(seconds['backbone'])


def _plain(cfg: Config) -> Config:
    """Copy a config, its test in the one form that the inferencers read.

    They look for the data set's own pipeline and for names without a scope;
    a segmentor's changes the config that it is given.
    """
    cfg = deepcopy(cfg)
    loader = cfg.test_dataloader
    loader.dataset = leaf = next(leaf_datasets(loader.dataset))
    named = [(DATASETS, leaf), *((TRANSFORMS, s) for s in leaf.pipeline)]
    for registry, part in named:
        cls = class_of(registry, part)
        if cls is class_of(registry, cls.__name__):
            part['type'] = cls.__name__
    return cfg


def _check(path: str | Path) -> None:
    if not Path(path).is_file() or mmcv.imread(path) is None:
        raise ConfigError(f'{Path(path).name!r} is not an image')


def _classify(cfg: Config, checkpoint: str, device: str):
    from mmpretrain import ImageClassificationInferencer

    infer = ImageClassificationInferencer(cfg, checkpoint, device=device)

    def answer(infer, path):
        (result,) = infer(path)
        scores = result['pred_scores']
        names = infer.classes or [str(i) for i in range(len(scores))]
        best = np.argsort(-scores)[:CLASSES]
        text = ', '.join(f'{names[i]} ({100 * scores[i]:.1f} %)' for i in best)
        return mmcv.imread(path, channel_order='rgb'), f'class {text}'

    return infer, answer


def _detect(cfg: Config, checkpoint: str, device: str):
    from mmdet.apis import DetInferencer

    infer = DetInferencer(cfg, checkpoint, device=device, show_progress=False)

    def answer(infer, path):
        result = infer(
            path, return_vis=True, no_save_vis=True, pred_score_thr=SCORE
        )
        (found,) = result['predictions']
        names = infer.model.dataset_meta['classes']
        labels = [
            names[label]
            for label, score in zip(found['labels'], found['scores'])
            if score >= SCORE
        ]
        return result['visualization'][0], _count(labels)

    return infer, answer


def _segment(cfg: Config, checkpoint: str, device: str):
    from mmseg.apis import MMSegInferencer

    infer = MMSegInferencer(cfg, checkpoint, device=device)
    infer.show_progress = False  # the original mmseg takes no such argument

    def answer(infer, path):
        result = infer(path, return_vis=True)
        labels, counts = np.unique(result['predictions'], return_counts=True)
        names = infer.model.dataset_meta['classes']
        order = np.argsort(-counts)
        text = ', '.join(
            f'{names[labels[i]]} ({100 * counts[i] / counts.sum():.1f} %)'
            for i in order
        )
        return np.asarray(result['visualization']), f'pixels: {text}'

    return infer, answer


def _count(labels: list[str]) -> str:
    if not labels:
        return f'nothing with a score of {SCORE} or more'
    counts = sorted(Counter(labels).items())
    return f'{len(labels)} found: ' + ', '.join(
        name if count == 1 else f'{count} × {name}' for name, count in counts
    )
