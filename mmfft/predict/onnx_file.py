# Copyright (c) mmfft authors. All rights reserved.
"""A model in a file of tools/deployment/export_onnx.py."""

from pathlib import Path

import numpy as np

from ..runtime import onnx_model
from ..runtime.prediction import Prediction
from .reading import read_image


class OnnxFile:
    """An exported model, run by onnxruntime.

    Args:
        path (str): Path of the file.

    Raises:
        ConfigError: If the file does not exist, or was exported by another
            program.
    """

    def __init__(self, path: str) -> None:
        self._model = onnx_model.OnnxModel(path)
        self.classes = self._model.classes

    def predict_file(self, path: str | Path) -> tuple[np.ndarray, Prediction]:
        """Predict for a file.

        Args:
            path (str | Path): Path of the image.

        Returns:
            tuple[np.ndarray, Prediction]: The image, RGB uint8 ``(H, W, 3)``,
            and what was predicted for it.

        Raises:
            UnreadableError: If it cannot be read.
        """
        image = np.ascontiguousarray(read_image(path)[..., ::-1])
        return image, self.predict_frame(image)

    def predict_frame(self, frame: np.ndarray) -> Prediction:
        """Predict for an image in memory.

        Args:
            frame (np.ndarray): Image, RGB uint8 ``(H, W, 3)``.
        """
        return self._model.predict(frame)
