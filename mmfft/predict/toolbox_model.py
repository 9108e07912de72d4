# Copyright (c) mmfft authors. All rights reserved.
"""A model of mmpretrain, mmdet or mmseg, run by its own inferencer."""

from copy import deepcopy
from pathlib import Path

import mmcv
import numpy as np
import torch
from mmcv.transforms import LoadImageFromFile
from mmengine.config import Config
from mmengine.registry import DATASETS, TRANSFORMS
from torch import nn

from ..engine import image_channels, load_weights
from ..engine.class_names import class_names
from ..engine.models import require_checkpoint
from ..engine.quiet import quiet
from ..errors import ConfigError
from ..openmmlab.scopes import (
    choose_by_scope,
    class_of,
    enter_scope,
    is_subclass,
    leaf_datasets,
)
from ..openmmlab.test_pipeline import loading_step, loads_bgr
from ..runtime.prediction import Prediction
from ..visualization.pictures import as_picture
from .reading import read_image


class ToolboxModel:
    """A trained model that predicts by its toolbox's own inferencer.

    Args:
        cfg (Config): Config of mmpretrain, mmdet or mmseg.
        checkpoint (str): Path or URL of a file, or ``mmfft://`` and a name.
        device (str): Device on which the model runs. Defaults to ``'cpu'``.

    Attributes:
        task (str): What the model does, see :class:`.Prediction`.
        classes (tuple[str, ...]): Names of the classes.

    Raises:
        ConfigError: If the config is for another toolbox or has no test, if
            there is no such device, or as in :func:`load_weights`.
    """

    def __init__(
        self, cfg: Config, checkpoint: str, device: str = 'cpu'
    ) -> None:
        inferencers = dict(
            mmpretrain=_classifier, mmdet=_detector, mmseg=_segmentor
        )
        make = choose_by_scope(cfg, inferencers)
        require_checkpoint(checkpoint)
        self.cfg = cfg
        self.device = _usable(device)
        enter_scope(cfg)
        step = loading_step(cfg)
        self._load = TRANSFORMS.build(step)
        self._is_bgr = loads_bgr([step])
        with quiet():
            self._infer, self._prepare, self._answer = make(
                _plain(cfg), checkpoint, device
            )
        # The inferencers only warn of weights that the file lacks, unless the
        # backbone is one of ours.
        meta = load_weights(self._infer.model, checkpoint)
        self.task = {
            _classifier: 'classification',
            _detector: 'detection',
            _segmentor: 'segmentation',
        }[make]
        self.classes, self.palette = class_names(cfg, meta)

    @property
    def model(self) -> nn.Module:
        """The toolbox's model, in evaluation mode."""
        return self._infer.model

    def predict_file(self, path: str | Path) -> tuple[np.ndarray, Prediction]:
        """Predict for a file, which is read as for the config's test.

        Args:
            path (str | Path): Path of the image.

        Returns:
            tuple[np.ndarray, Prediction]: The image as it can be shown, RGB
            uint8 ``(H, W, 3)``, see :func:`as_picture`, and what was
            predicted for it.

        Raises:
            UnreadableError: If the file does not exist or cannot be read.
            ConfigError: If the model predicts something else.
        """
        image = read_image(path, self._load)
        return as_picture(image, self._is_bgr), self._predict(image)

    def predict_frame(self, frame: np.ndarray) -> Prediction:
        """Predict for an image that is in memory.

        Args:
            frame (np.ndarray): Image, RGB uint8 ``(H, W, 3)``.

        Returns:
            Prediction: What was predicted for it.

        Raises:
            ConfigError: If the model takes neither colours nor grey, or
                predicts something else.
        """
        image = np.ascontiguousarray(frame[..., ::-1])
        if self.channels == 1:
            image = mmcv.bgr2gray(image)
        elif self.channels != 3:
            raise ConfigError(
                f'a video has 3 channels, and the model takes {self.channels}'
            )
        if getattr(self._load, 'to_float32', False):
            image = image.astype(np.float32)
        return self._predict(image)

    @property
    def channels(self) -> int:
        """Number of channels of the images that the model takes."""
        return image_channels(getattr(self.model, 'backbone', self.model))

    def _predict(self, image: np.ndarray) -> Prediction:
        # Another model may have been used since, of another toolbox.
        enter_scope(self.cfg)
        (sample,) = self._infer.forward(self._prepare(self._infer, image))
        return Prediction(
            self.task,
            tuple(image.shape[:2]),
            self.classes,
            palette=self.palette,
            **self._answer(sample),
        )


def _usable(device: str) -> torch.device:
    try:
        usable = torch.device(device)
        torch.empty(1, device=usable)
    except (AssertionError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f'device {device!r} cannot be used here: {reason}'
        ) from error
    return usable


def _plain(cfg: Config) -> Config:
    """Copy a config, its test in the one form that the inferencers read.

    They look for the data set's own pipeline and for names without a scope;
    a segmentor's changes the config that it is given. They are given images
    that have been read already, so that any class may read them.
    """
    cfg = deepcopy(cfg)
    loader = cfg.test_dataloader
    loader.dataset = leaf = next(leaf_datasets(loader.dataset))
    leaf.pipeline = [
        dict(type='LoadImageFromFile')
        if is_subclass(class_of(TRANSFORMS, step), LoadImageFromFile)
        else step
        for step in leaf.pipeline
    ]
    named = [(DATASETS, leaf), *((TRANSFORMS, s) for s in leaf.pipeline)]
    for registry, part in named:
        cls = class_of(registry, part)
        if cls is class_of(registry, cls.__name__):
            part['type'] = cls.__name__
    return cfg


def _classifier(cfg: Config, checkpoint: str, device: str):
    from mmpretrain import ImageClassificationInferencer

    def answer(sample) -> dict:
        scores = _of(sample, 'pred_score').float().cpu().numpy()
        labels = np.argsort(-scores, kind='stable')
        return dict(labels=labels, scores=scores[labels])

    infer = ImageClassificationInferencer(cfg, checkpoint, device=device)
    return infer, _one_batch, answer


def _detector(cfg: Config, checkpoint: str, device: str):
    from mmdet.apis import DetInferencer
    from mmdet.structures.mask import mask2bbox

    def prepare(infer, image):
        _, batch = _one_batch(infer, image)
        return batch

    def answer(sample) -> dict:
        found = _of(sample, 'pred_instances').cpu()
        masks = found.get('masks')
        boxes = found.get('bboxes')
        # As SOLO's, of which mmdet's inferencer does the same.
        if masks is not None and (boxes is None or not boxes.any()):
            boxes = mask2bbox(masks)
        return dict(
            labels=found.labels.numpy(),
            scores=found.scores.float().numpy(),
            boxes=boxes.float().numpy().reshape(-1, 4),
            masks=None if masks is None else np.asarray(masks, dtype=bool),
        )

    infer = DetInferencer(cfg, checkpoint, device=device, show_progress=False)
    return infer, prepare, answer


def _segmentor(cfg: Config, checkpoint: str, device: str):
    from mmseg.apis import MMSegInferencer

    def answer(sample) -> dict:
        return dict(
            labels=np.zeros(0, dtype=np.int64),
            scores=np.zeros(0, dtype=np.float32),
            label_map=_of(sample, 'pred_sem_seg').data[0].cpu().numpy(),
        )

    infer = MMSegInferencer(cfg, checkpoint, device=device)
    return infer, _one_batch, answer


def _one_batch(infer, image: np.ndarray):
    return next(iter(infer.preprocess([image])))


def _of(sample, name: str):
    if name not in sample:
        raise ConfigError(
            'only classes, objects and semantic segmentations can be shown: '
            f'the model predicts {sorted(sample.keys())}, and not {name}'
        )
    return sample.get(name)
