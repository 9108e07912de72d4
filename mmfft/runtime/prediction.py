# Copyright (c) mmfft authors. All rights reserved.
"""What a model predicts for an image, whatever has run the model."""

import colorsys
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from ..errors import require_one_of

TASKS = ('classification', 'detection', 'segmentation')
# Number of classes that a classification names, the most likely first.
NAMED = 3

Colour = tuple[int, int, int]


def class_colour(label: int) -> Colour:
    """Choose the RGB colour of a class, far from those of its neighbours.

    Args:
        label (int): Number of the class, from 0.
    """
    # By the golden ratio, neighbours differ however many classes there are.
    hue = (0.03 + label * 0.618034) % 1
    strength = (0.78, 0.5, 0.95)[label // 8 % 3]
    red, green, blue = colorsys.hsv_to_rgb(hue, strength, 0.96)
    return round(255 * red), round(255 * green), round(255 * blue)


@dataclass
class Prediction:
    """Classes of an image, its objects, or its pixels.

    Args:
        task (str): ``'classification'``, ``'detection'`` or
            ``'segmentation'``.
        size (tuple[int, int]): Height and width of the image in pixels, as
            it was given.
        classes (tuple[str, ...]): Names of the classes.
        labels (np.ndarray): Integers of the shape ``(N,)``. Classification
            has all classes, the most likely first; detection has one for
            each object; segmentation has none.
        scores (np.ndarray): Score of each label, float32 ``(N,)``.
        boxes (np.ndarray, optional): Boxes ``(N, 4)`` of a detection, as
            ``x1, y1, x2, y2`` in pixels of the image. Defaults to none.
        masks (np.ndarray, optional): Masks of an instance segmentation, bool
            ``(N, H, W)``. Defaults to none.
        label_map (np.ndarray, optional): Class of each pixel, integers of
            the shape ``(H, W)``, for segmentation only. A number from
            ``len(classes)`` up means no class. Defaults to none.
        palette (tuple[tuple[int, int, int], ...], optional): RGB colour of
            each class. Defaults to none: :meth:`colour` has others.

    Raises:
        ConfigError: If the task is another one.
    """

    task: str
    size: tuple[int, int]
    classes: tuple[str, ...]
    labels: np.ndarray
    scores: np.ndarray
    boxes: np.ndarray | None = None
    masks: np.ndarray | None = None
    label_map: np.ndarray | None = None
    palette: tuple[Colour, ...] | None = None

    def __post_init__(self) -> None:
        require_one_of('task', self.task, TASKS)

    def name(self, label: int) -> str:
        """Name of a class; its number if the model has more than names.

        Args:
            label (int): Number of the class, from 0.
        """
        known = label < len(self.classes)
        return str(self.classes[label] if known else label)

    def colour(self, label: int) -> Colour:
        """RGB colour of a class, which is the same in all pictures.

        Args:
            label (int): Number of the class, from 0.
        """
        if self.palette and label < len(self.palette):
            red, green, blue = self.palette[label]
            return int(red), int(green), int(blue)
        return class_colour(label)

    def above(self, score_thr: float) -> 'Prediction':
        """Leave out objects with a low score.

        Args:
            score_thr (float): Lowest score of an object that is kept.

        Returns:
            Prediction: The other objects. Classifications and segmentations,
            which have no objects, are returned as they are.
        """
        if self.task != 'detection':
            return self
        kept = self.scores >= score_thr
        return replace(
            self,
            labels=self.labels[kept],
            scores=self.scores[kept],
            boxes=self.boxes[kept],
            masks=None if self.masks is None else self.masks[kept],
        )

    def shares(self) -> dict[int, float]:
        """Share of the pixels of each class of a segmentation.

        Returns:
            dict[int, float]: Shares from 0 to 1 by label, the largest first;
            classes without a pixel are left out.
        """
        labels, counts = np.unique(self.label_map, return_counts=True)
        return {
            int(labels[i]): float(counts[i] / self.label_map.size)
            for i in np.argsort(-counts, kind='stable')
            if labels[i] < len(self.classes)
        }

    def describe(self, score_thr: float = 0.3) -> str:
        """Describe the prediction in one line.

        Args:
            score_thr (float): Lowest score of an object that is counted.
                Defaults to 0.3.

        Returns:
            str: The most likely classes with their scores, the number of
            objects of each class, or the share of pixels of each class.
        """
        if self.task == 'classification':
            likely = zip(self.labels[:NAMED], self.scores[:NAMED])
            return 'class ' + self._list_shares(likely)
        if self.task == 'segmentation':
            return 'pixels: ' + self._list_shares(self.shares().items())
        labels = self.above(score_thr).labels
        if not len(labels):
            return f'nothing with a score of {score_thr} or more'
        counts = sorted(Counter(map(self.name, labels)).items())
        return f'{len(labels)} found: ' + ', '.join(
            name if count == 1 else f'{count} × {name}'
            for name, count in counts
        )

    def _list_shares(self, shares) -> str:
        return ', '.join(
            f'{self.name(label)} ({100 * share:.1f} %)'
            for label, share in shares
        )
