# Copyright (c) mmfft authors. All rights reserved.
"""Predictions for an image and the filters behind them, for the demo page."""

import statistics
from pathlib import Path

import numpy as np
import torch

from ..errors import ConfigError
from ..measure import time_in_turns
from ..predict.toolbox_model import ToolboxModel
from ..runtime.drawing import draw
from ..visualization.filters import draw_filters, read_filters, see_image

# Lowest score of a detection that is shown.
SCORE = 0.5


class Predictor(ToolboxModel):
    """A trained model, of which the page shows more than predictions."""

    def show(self, path: str | Path) -> tuple[np.ndarray, str]:
        """Classify, detect or segment.

        Args:
            path (str | Path): Path of the image.

        Returns:
            tuple[np.ndarray, str]: Picture of the result, RGB uint8, and a
            line that describes it.

        Raises:
            ConfigError: If the image cannot be read.
        """
        image, prediction = self.predict_file(path)
        return draw(image, prediction, SCORE), prediction.describe(SCORE)

    def filters(self, path: str | Path) -> np.ndarray:
        """Draw the filters at work on an image, RGB uint8.

        Args:
            path (str | Path): Path of the image.

        Raises:
            ConfigError: If the image cannot be read.
        """
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
        image = torch.randn(
            1, self.channels, height, width, device=self.device
        )
        run = dict(backbone=lambda: self.model.backbone(image))
        seconds = time_in_turns(run, self.device, rounds)
        return statistics.median(seconds['backbone'])
