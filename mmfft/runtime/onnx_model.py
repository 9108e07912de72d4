# Copyright (c) mmfft authors. All rights reserved.
"""Exported models run without PyTorch and without OpenMMLab."""

import json
from dataclasses import fields
from pathlib import Path

import numpy as np

from ..errors import ConfigError
from .engines import open_engine
from .objects import place_objects
from .prediction import TASKS, Prediction
from .preparation import Preparation
from .resizing import Size, resize_map

EXPORTER = 'tools/deployment/export_onnx.py'
NOT_JSON = (
    'mmfft_version',
    'task',
    'channel_order',
    'unknown_steps',
    'features_because',
)


class ExportedFile:
    """A whole network in a file of ``tools/deployment/export_onnx.py``.

    Args:
        path (str | Path): Path of the file.
        runtime (str): What runs it, ``'onnxruntime'`` or ``'openvino'``.
            Defaults to ``'onnxruntime'``.

    Attributes:
        engine (Engine): The network, names in and arrays out.
        task (str): What the model does, see :class:`.Prediction`.
        classes (tuple[str, ...]): Names of the classes.
        metadata (dict): What the file tells, see docs/how_to/deployment.md.

    Raises:
        ConfigError: If the runtime is another one or not installed, or the
            file does not exist, cannot be read, was written by another
            program, or ends before classes, boxes or pixels are known.
    """

    def __init__(self, path: str | Path, runtime: str = 'onnxruntime') -> None:
        self.path = str(path)
        self.engine = open_engine(path, runtime)
        told = self.engine.metadata
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
        self.classes = tuple(self.metadata['classes'])

    def require_size(self, size: Size, original: Size | None = None) -> None:
        """Check that the file takes an input of some size.

        Args:
            size (tuple[int, int]): Height and width of the input.
            original (tuple[int, int], optional): Those of the image from
                which it was made, for the message. Defaults to none.

        Raises:
            ConfigError: If the file is for another size alone.
        """
        known = self.metadata['input_size']
        if not self.metadata['dynamic'] and list(size) != known:
            image = f' of {_words(original)}' if original else ''
            raise ConfigError(
                f'an image{image} becomes an input of {_words(size)}, and '
                f'{self.path!r} takes only {_words(known)}: export it with '
                '--dynamic'
            )


class OnnxModel(ExportedFile):
    """An exported network with what comes before and after it.

    Args:
        path (str | Path): Path of the file.
        runtime (str): As of :class:`ExportedFile`. Defaults to
            ``'onnxruntime'``.

    Attributes:
        palette (tuple[tuple[int, int, int], ...] | None): RGB colour of each
            class, if the file has any.

    Raises:
        ConfigError: As :class:`ExportedFile` does, or if the file does not
            tell how to prepare an image.
    """

    def __init__(self, path: str | Path, runtime: str = 'onnxruntime') -> None:
        super().__init__(path, runtime)
        if 'unknown_steps' in self.metadata:
            raise ConfigError(
                f'{self.path!r} does not tell how an image is prepared: '
                f'{self.metadata["unknown_steps"]}'
            )
        names = {field.name for field in fields(Preparation)}
        self._prepare = Preparation(
            **{k: v for k, v in self.metadata.items() if k in names}
        )
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
        self.require_size(values.shape[2:], image.shape[:2])
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
        ((logits,),) = self.engine.run(['logits'], dict(input=values))
        scores = np.exp(logits - logits.max())
        scores /= scores.sum()
        labels = np.argsort(-scores, kind='stable')
        return dict(labels=labels, scores=scores[labels])

    def _detect(self, values: np.ndarray, inner: Size, size: Size) -> dict:
        inputs = dict(input=values, image_size=np.array(inner, np.int64))
        outputs = self.engine.run(None, inputs)
        names = self.engine.outputs
        objects = {name: out[0] for name, out in zip(names, outputs)}
        threshold = self.metadata.get('mask_thr_binary')
        return place_objects(objects, inner, size, threshold)

    def _segment(self, values: np.ndarray, inner: Size, size: Size) -> dict:
        ((logits,),) = self.engine.run(['logits'], dict(input=values))
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


def _words(size) -> str:
    return f'{size[0]}x{size[1]}'
