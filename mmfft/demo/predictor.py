# Copyright (c) mmfft authors. All rights reserved.
"""What a model says of an image and why it may: what the demo page shows."""

import statistics
from collections import Counter
from pathlib import Path

import mmcv
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

from ..engine import load_weights
from ..engine.models import require_checkpoint
from ..errors import ConfigError
from ..measure import time_in_turns
from ..openmmlab.scopes import choose_by_scope
from ..visualization.filters import draw_filters, read_filters, see_image

# Least score of a detection that is shown.
SCORE = 0.5
# Classes of a classification that are told, the likeliest first.
CLASSES = 3


class Predictor:
    """A model behind its toolbox's own inferencer.

    Args:
        cfg (Config): Of mmpretrain, mmdet or mmseg.
        checkpoint (str): A file, an address or ``mmfft://``.
        device (str): Defaults to ``'cpu'``.

    Raises:
        ConfigError: If the config is of another toolbox, or as of
            :func:`load_weights`.
    """

    def __init__(self, cfg: Config, checkpoint: str, device: str = 'cpu'):
        tasks = dict(mmpretrain=_classify, mmdet=_detect, mmseg=_segment)
        task = choose_by_scope(cfg, tasks)
        require_checkpoint(checkpoint)
        self.cfg = cfg
        self.device = torch.device(device)
        init_default_scope(cfg.default_scope)
        # A segmentor's inferencer changes the config that it is given.
        self._infer, self._answer = task(cfg.copy(), checkpoint, device)
        # The inferencers only warn of weights that the file does not have.
        load_weights(self._infer.model, checkpoint)

    @property
    def model(self) -> nn.Module:
        """The toolbox's model, in evaluation mode."""
        return self._infer.model

    def predict(self, path: str | Path) -> tuple[np.ndarray, str]:
        """Classify, detect or segment.

        Args:
            path (str | Path): The image.

        Returns:
            tuple[np.ndarray, str]: A picture, RGB uint8, and a line that
            says what is in it.

        Raises:
            ConfigError: If the image cannot be read.
        """
        _check(path)
        init_default_scope(self.cfg.default_scope)
        # By its path: of an array mmdet and mmseg would swap the colours.
        return self._answer(self._infer, str(path))

    def filters(self, path: str | Path) -> np.ndarray:
        """The filters at work on an image, RGB uint8.

        Args:
            path (str | Path): The image.

        Raises:
            ConfigError: If the image cannot be read.
        """
        _check(path)
        seen = see_image(self.model, self.cfg, path)
        return draw_filters(read_filters(self.model, seen=seen), 6, seen.image)

    @torch.inference_mode()
    def latency(self, height: int, width: int, rounds: int = 5) -> float:
        """Median seconds of the backbone for one image of a size.

        Args:
            height (int): Pixels.
            width (int): Pixels.
            rounds (int): Measurements. Defaults to 5.

        Raises:
            ConfigError: If the size is not positive.
        """
        if min(height, width) < 1:
            raise ConfigError(f'size {height}x{width} must be positive')
        image = torch.randn(1, 3, height, width, device=self.device)
        run = dict(backbone=lambda: self.model.backbone(image))
        seconds = time_in_turns(run, self.device, rounds)
        return statistics.median(seconds['backbone'])


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
