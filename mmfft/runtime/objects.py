# Copyright (c) mmfft authors. All rights reserved.
"""Objects of an exported detector, from its input to the image."""

import numpy as np

from .resizing import Size


def place_objects(
    outputs: dict[str, np.ndarray],
    inner: Size,
    size: Size,
    threshold: float | None = None,
) -> dict[str, np.ndarray]:
    """Place the objects of an exported detector in the image.

    Args:
        outputs (dict[str, np.ndarray]): ``dets`` ``(N, 5)``, ``labels``
            ``(N,)`` and, if the detector has them, ``masks`` ``(N, h, w)``
            of one image. Rows below the last object have a negative label.
        inner (tuple[int, int]): Height and width of the image inside the
            input of the network.
        size (tuple[int, int]): Height and width of the image itself.
        threshold (float, optional): Score from which a pixel is part of a
            mask; needed for masks only. Defaults to None.

    Returns:
        dict[str, np.ndarray]: ``labels`` ``(M,)``, ``scores`` ``(M,)``,
        ``boxes`` ``(M, 4)`` in pixels of the image and ``masks``, bool
        ``(M, H, W)``, if there are any.
    """
    found = outputs['labels'] >= 0
    dets = outputs['dets'][found]
    factors = np.array([old / new for old, new in zip(size, inner)])
    boxes = (dets[:, :4] * np.tile(factors[::-1], 2)).astype(np.float32)
    objects = dict(
        labels=outputs['labels'][found], scores=dets[:, 4], boxes=boxes
    )
    if 'masks' in outputs:
        masks = outputs['masks'][found]
        objects['masks'] = paste_masks(masks, boxes, size, threshold)
    return objects


def paste_masks(
    masks: np.ndarray, boxes: np.ndarray, size: Size, threshold: float
) -> np.ndarray:
    """Paste masks into an image at their boxes, as mmdet does.

    Args:
        masks (np.ndarray): Scores of the pixels from 0 to 1, float32
            ``(N, h, w)``.
        boxes (np.ndarray): Boxes in pixels of the image, float32 ``(N, 4)``,
            as ``x1, y1, x2, y2``.
        size (tuple[int, int]): Height and width of the image.
        threshold (float): Score from which a pixel is part of the object.

    Returns:
        np.ndarray: Masks, bool ``(N, H, W)``.
    """
    height, width = size
    pasted = np.zeros((len(masks), height, width), dtype=bool)
    # Beyond a mask there is nothing, towards which it fades.
    masks = np.pad(masks, ((0, 0), (1, 1), (1, 1)))
    for mask, (x1, y1, x2, y2), target in zip(masks, boxes, pasted):
        down = _Axis(y1, y2, height, mask.shape[0])
        along = _Axis(x1, x2, width, mask.shape[1])
        values = down.between(mask)
        values = along.between(values.T).T
        target[down.place, along.place] = values >= threshold
    return pasted


class _Axis:
    """Pixels of an image around a box, and where in its mask they are."""

    def __init__(self, start: float, end: float, length: int, cells: int):
        first = max(0, int(np.floor(start)) - 1)
        last = max(first, min(length, int(np.ceil(end)) + 1))
        self.place = slice(first, last)
        centres = np.arange(first, last, dtype=np.float32) + np.float32(0.5)
        with np.errstate(divide='ignore', invalid='ignore'):
            share = (centres - start) / (end - start)
        # A box without a side shows the middle of its mask.
        share[~np.isfinite(share)] = 0.5
        # The outermost cells are the border, and a cell's centre counts.
        position = share * np.float32(cells - 2) + np.float32(0.5)
        position = position.clip(0, cells - 1)
        self.near = np.floor(position).astype(np.int64).clip(0, cells - 2)
        self.far_weight = position - self.near.astype(np.float32)

    def between(self, values: np.ndarray) -> np.ndarray:
        far = self.far_weight[:, None]
        return values[self.near] * (1 - far) + values[self.near + 1] * far
