# Copyright (c) mmfft authors. All rights reserved.
"""Predictions in the JSON format of COCO's annotations.

The file holds what pycocotools' ``COCO()`` and tools for labelling expect:
``images``, ``categories`` and ``annotations``. Images are numbered from 1 in
the order of prediction, categories from 1 in the order of the classes. Each
annotation has ``id``, ``image_id`` and ``category_id``, and

- for detection, an annotation for each object from the lowest score up that
  is drawn: ``bbox`` (x, y, width and height in pixels), ``score``, ``area``,
  ``iscrowd`` 0 and, if the model predicts masks, ``segmentation`` as RLE;
- for segmentation, an annotation for each class that an image contains, as in
  COCO-Stuff: ``segmentation`` as RLE, ``bbox``, ``area`` and ``iscrowd`` 0;
- for classification, one annotation with the ``score`` of the most likely
  class and, in ``top``, the five most likely ones, each as ``category_id``
  and ``score``.

Frames of videos have ``video_id`` and ``frame_id`` (from 0) in addition, and
``videos`` has ``name``, ``fps``, ``width`` and ``height`` of the original.
"""

from typing import Any

import numpy as np
from pycocotools import mask as rle

from ..runtime.prediction import Prediction

# Number of classes in ``top``.
TOP = 5


class CocoPredictions:
    """Predictions that become a file in COCO's format.

    Args:
        classes (tuple[str, ...]): Names of the classes.
        info (dict): What is said about the predictions, by name.
    """

    def __init__(self, classes: tuple[str, ...], info: dict) -> None:
        self._images: list[dict] = []
        self._videos: list[dict] = []
        self._annotations: list[dict] = []
        self._head = dict(
            info=info,
            licenses=[],
            categories=[
                dict(id=i, name=name) for i, name in enumerate(classes, 1)
            ],
        )

    def __len__(self) -> int:
        return len(self._images)

    def add_video(self, name: str, fps: float) -> None:
        """Add a video, to which frames that are added next belong.

        Args:
            name (str): Name of the file.
            fps (float): Frames a second.
        """
        number = len(self._videos) + 1
        self._videos.append(dict(id=number, name=name, fps=fps))

    def add(
        self, name: str, prediction: Prediction, frame: int | None = None
    ) -> None:
        """Add what was predicted for an image.

        Args:
            name (str): Name of the file, for a frame that of its video.
            prediction (Prediction): All objects of it are added.
            frame (int, optional): Number of a frame of the video that was
                added last. Defaults to None: not a frame of a video.
        """
        height, width = prediction.size
        image = dict(
            id=len(self._images) + 1, file_name=name, width=width,
            height=height,
        )  # fmt: skip
        if frame is not None:
            video = self._videos[-1]
            video.update(width=width, height=height)
            image.update(
                file_name=f'{name}/{frame:06d}.png',
                video_id=video['id'],
                frame_id=frame,
            )
        self._images.append(image)
        for found in _FORMS[prediction.task](prediction):
            number = len(self._annotations) + 1
            place = dict(id=number, image_id=image['id'])
            self._annotations.append({**place, **found})

    def content(self) -> dict[str, Any]:
        """Everything that was added, as the file contains it."""
        videos = dict(videos=self._videos) if self._videos else {}
        return dict(
            **self._head,
            **videos,
            images=self._images,
            annotations=self._annotations,
        )


def _objects(prediction: Prediction):
    for i, label in enumerate(prediction.labels):
        x1, y1, x2, y2 = (float(one) for one in prediction.boxes[i])
        found = dict(
            category_id=int(label) + 1,
            bbox=[round(one, 2) for one in (x1, y1, x2 - x1, y2 - y1)],
            score=round(float(prediction.scores[i]), 6),
            area=round((x2 - x1) * (y2 - y1), 2),
            iscrowd=0,
        )
        if prediction.masks is not None:
            found.update(_encoded(prediction.masks[i]))
        yield found


def _segments(prediction: Prediction):
    for label in sorted(prediction.shares()):
        code = _encoded(prediction.label_map == label)
        bbox = rle.toBbox(code['segmentation'])
        yield dict(
            category_id=label + 1, bbox=bbox.tolist(), iscrowd=0, **code
        )


def _classes(prediction: Prediction):
    top = [
        dict(category_id=int(label) + 1, score=round(float(score), 6))
        for label, score in zip(prediction.labels[:TOP], prediction.scores)
    ]
    yield dict(**top[0], top=top)


_FORMS = dict(
    classification=_classes, detection=_objects, segmentation=_segments
)


def _encoded(mask: np.ndarray) -> dict:
    code = rle.encode(np.asfortranarray(mask, dtype=np.uint8))
    area = float(rle.area(code))
    return dict(
        segmentation=dict(size=code['size'], counts=code['counts'].decode()),
        area=area,
    )
