# Copyright (c) mmfft authors. All rights reserved.
"""Exported models run by onnxruntime, without PyTorch and OpenMMLab."""

import json
from dataclasses import fields
from pathlib import Path

import numpy as np

from ..errors import ConfigError
from .prediction import TASKS, Prediction
from .preparation import Preparation
from .resizing import Size, resize_map

try:
    import onnxruntime
except ImportError as error:
    raise ImportError(
        f'ONNX files cannot be run ({error}): pip install onnxruntime'
    ) from error

EXPORTER = 'tools/deployment/export_onnx.py'
NOT_JSON = (
    'mmfft_version',
    'task',
    'channel_order',
    'unknown_steps',
    'features_because',
)


class OnnxModel:
    """A model in a file of ``tools/deployment/export_onnx.py``.

    Args:
        path (str | Path): Path of the file.

    Attributes:
        task (str): What the model does, see :class:`Prediction`.
        classes (tuple[str, ...]): Names of the classes.
        palette (tuple[tuple[int, int, int], ...] | None): RGB colour of each
            class, if the file has any.
        metadata (dict): What the file tells, see docs/deployment.md.

    Raises:
        ConfigError: If the file does not exist, cannot be read, was written
            by another program, ends before classes, boxes or pixels are
            known, or does not tell how to prepare an image.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        self._session = _open(path)
        told = self._session.get_modelmeta().custom_metadata_map
        if 'task' not in told:
            raise ConfigError(
                f'{self.path!r} does not tell what its outputs mean: it must '
                f'be a file of {EXPORTER} of this version'
            )
        self.metadata = {
            key: value if key in NOT_JSON else json.loads(value)
            for key, value in told.items()
        }
        self.task = self.metadata['task']
        if self.task not in TASKS:
            raise ConfigError(
                f'{self.path!r} has task {self.task!r}, and only files of one '
                f'of {TASKS} are whole models: '
                + self.metadata.get('features_because', 'see its export')
            )
        if 'unknown_steps' in self.metadata:
            raise ConfigError(
                f'{self.path!r} does not tell how an image is prepared: '
                f'{self.metadata["unknown_steps"]}'
            )
        names = {field.name for field in fields(Preparation)}
        self._prepare = Preparation(
            **{k: v for k, v in self.metadata.items() if k in names}
        )
        self.classes = tuple(self.metadata['classes'])
        palette = self.metadata.get('palette')
        self.palette = palette and tuple(map(tuple, palette))

    def predict(self, image: np.ndarray) -> Prediction:
        """Predict for an image.

        Args:
            image (np.ndarray): Image, RGB uint8 ``(H, W, 3)``.

        Returns:
            Prediction: What the toolbox's own model would predict.

        Raises:
            ConfigError: If the image is of another shape or type, or the
                file is for one size of images that this one does not have
                after it was prepared.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ConfigError(
                'the image must be RGB uint8 (H, W, 3), got '
                f'{image.dtype} {image.shape}'
            )
        values, inner = self._prepare(image)
        if not self.metadata['dynamic']:
            size = self.metadata['input_size']
            if list(values.shape[2:]) != size:
                raise ConfigError(
                    f'an image of {_words(image.shape)} becomes an input of '
                    f'{_words(values.shape[2:])}, and {self.path!r} takes '
                    f'only {_words(size)}: export it with --dynamic'
                )
        answer = dict(
            classification=self._classify,
            detection=self._detect,
            segmentation=self._segment,
        )[self.task]
        size = image.shape[:2]
        return Prediction(
            self.task,
            size,
            self.classes,
            palette=self.palette,
            **answer(values, inner, size),
        )

    def _classify(self, values: np.ndarray, inner: Size, size: Size) -> dict:
        ((logits,),) = self._session.run(['logits'], dict(input=values))
        scores = np.exp(logits - logits.max())
        scores /= scores.sum()
        labels = np.argsort(-scores, kind='stable')
        return dict(labels=labels, scores=scores[labels])

    def _detect(self, values: np.ndarray, inner: Size, size: Size) -> dict:
        inputs = dict(input=values, image_size=np.array(inner, np.int64))
        (dets,), (labels,) = self._session.run(['dets', 'labels'], inputs)
        # Rows below the last object are empty.
        dets, labels = dets[labels >= 0], labels[labels >= 0]
        factors = np.array([old / new for old, new in zip(size, inner)])
        boxes = dets[:, :4] * np.tile(factors[::-1], 2)
        return dict(
            labels=labels,
            scores=dets[:, 4],
            boxes=boxes.astype(np.float32),
        )

    def _segment(self, values: np.ndarray, inner: Size, size: Size) -> dict:
        ((logits,),) = self._session.run(['logits'], dict(input=values))
        logits = logits[:, : inner[0], : inner[1]]
        align_corners = self.metadata['align_corners']
        # A single class is compared with a threshold, several with each other.
        threshold = self.metadata.get('threshold')
        best = np.zeros(size, dtype=np.int64)
        if threshold is not None:
            logits = resize_map(logits, size, align_corners)[0]
            best = (1 / (1 + np.exp(-logits)) > threshold).astype(np.int64)
        else:
            # One by one: all maps at the size of a photo may be gigabytes.
            highest = np.full(size, -np.inf, dtype=np.float32)
            for label in range(len(logits)):
                part = logits[label : label + 1]
                (one,) = resize_map(part, size, align_corners)
                best[one > highest] = label
                np.maximum(highest, one, out=highest)
        return dict(
            labels=np.zeros(0, dtype=np.int64),
            scores=np.zeros(0, dtype=np.float32),
            label_map=best,
        )


def _open(path: str | Path) -> onnxruntime.InferenceSession:
    if not Path(path).is_file():
        raise ConfigError(f'model {str(path)!r} does not exist')
    options = onnxruntime.SessionOptions()
    # It warns of inputs with a default.
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(
            path, options, providers=['CPUExecutionProvider']
        )
    # onnxruntime's errors have no common class but this.
    except Exception as error:
        reason = ' '.join(str(error).split())
        raise ConfigError(
            f'{str(path)!r} is not an ONNX file that onnxruntime can run: '
            f'{reason}'
        ) from error


def _words(size) -> str:
    return f'{size[0]}x{size[1]}'
