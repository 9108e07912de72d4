# Copyright (c) mmfft authors. All rights reserved.
"""Overlaps of boxes, and suppression of boxes that overlap."""

import numpy as np
import torch
import torchvision
from torch import Tensor

# Number of overlaps in memory at a time: 64 MiB.
_MOST_OVERLAPS = 2**24


def nms(
    boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int
) -> Tensor:
    """Non-maximum suppression.

    Args:
        boxes (Tensor): Corners ``x1, y1, x2, y2``, of shape ``(N, 4)``.
        scores (Tensor): Scores, of shape ``(N,)``.
        iou_threshold (float): Overlap above which the box with the lower score
            is removed.
        offset (int): Number that is added to widths and heights, 0 or 1.

    Returns:
        Tensor: Indices of the boxes that are kept, highest score first.
    """
    # mmcv orders boxes of equal scores like this, unlike torchvision.
    order = scores.sort(0, descending=True)[1]
    boxes = boxes[order]
    # mmcv takes the threshold as float32.
    iou_threshold = float(np.float32(iou_threshold))
    if offset:
        groups = _groups(boxes, lambda iou: iou > iou_threshold, offset)
        keep = torch.tensor([g[0] for g in groups], dtype=torch.long)
        return order[keep.to(order.device)]
    # torchvision's sort is stable: it keeps the order of equal scores.
    same = scores.new_zeros(len(scores))
    return order[torchvision.ops.nms(boxes, same, iou_threshold)]


def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """Non-maximum suppression that reports what each box suppressed.

    Args:
        dets (Tensor): Corners and score of each box, of shape ``(N, 5)``.
        iou_threshold (float): Overlap from which on the box with the lower
            score is removed.

    Returns:
        list[list[int]]: Index of each box that is kept, highest score first,
        followed by the indices of the boxes that it suppressed.
    """
    order = dets[:, 4].sort(0, descending=True)[1]
    iou_threshold = float(np.float32(iou_threshold))
    groups = _groups(dets[order, :4], lambda iou: iou >= iou_threshold)
    names = order.cpu().numpy()
    return [names[group].tolist() for group in groups]


def _groups(boxes, suppresses, offset=0) -> list[np.ndarray]:
    """List each box that is kept, followed by those that it suppresses.

    Args:
        boxes (Tensor): Corners, highest score first.
        suppresses (Callable): Function from overlaps to whether they are too
            large.
        offset (int): As in :func:`nms`.
    """
    rows = max(1, _MOST_OVERLAPS // max(1, len(boxes)))
    left = np.ones(len(boxes), dtype=bool)
    groups = []
    for begin in range(0, len(boxes), rows):
        overlaps = _overlaps(boxes[begin : begin + rows], boxes, 0, offset)
        too_much = suppresses(overlaps).cpu().numpy()
        for first, row in enumerate(too_much, begin):
            if not left[first]:
                continue
            left[first] = False
            suppressed = np.flatnonzero(row & left)
            left[suppressed] = False
            groups.append(np.concatenate(([first], suppressed)))
    return groups


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Suppression that lowers scores instead of removing boxes.

    `Soft-NMS - Improving Object Detection With One Line of Code
    <https://arxiv.org/abs/1704.04503>`_.

    Args:
        boxes (Tensor): Corners, of shape ``(N, 4)``, float32 on the CPU.
        scores (Tensor): Scores, of shape ``(N,)``.
        dets (Tensor): Receives corners and lowered score of each box that is
            kept, of shape ``(N, 5)``.
        iou_threshold (float): Overlap from which on scores are lowered.
        sigma (float): Width of the Gaussian.
        min_score (float): Score below which a box is removed.
        method (int): 0 to remove boxes as NMS does, 1 to lower scores
            linearly, 2 to lower them by a Gaussian.
        offset (int): As in :func:`nms`.

    Returns:
        Tensor: Indices of the boxes that are kept, in the order of ``dets``.
    """
    weights = _weights_of_rows(boxes, iou_threshold, sigma, method, offset)
    min_score = np.float32(min_score)
    count = len(boxes)
    score = scores.numpy().copy()
    index = np.arange(count)
    first = 0
    while first < count:
        best = first + _argmax(score[first:count])
        for array in (score, index):
            array[first], array[best] = array[best], array[first]
        rest = slice(first + 1, count)
        lowered = score[rest] * weights(index[first])[index[rest]]
        stays = ~(lowered < min_score)
        kept = int(np.count_nonzero(stays))
        if kept == len(stays):
            score[rest] = lowered
        else:
            # mmcv puts the last box in the place of one that is removed.
            moves = np.arange(kept)
            holes = np.flatnonzero(~stays[:kept])
            moves[holes] = kept + np.flatnonzero(stays[kept:])[::-1]
            count = first + 1 + kept
            score[first + 1 : count] = lowered[moves]
            index[first + 1 : count] = index[rest][moves]
        first += 1
    inds = torch.from_numpy(index[:count])
    dets[:count, :4] = boxes[inds]
    dets[:count, 4] = torch.from_numpy(score[:count])
    return inds


def _argmax(scores: np.ndarray) -> int:
    """Index of the first of the largest, as a loop of comparisons finds it."""
    best = scores.argmax()
    if np.isnan(scores[best]):  # boxes without area; NumPy sorts NaN last
        best = 0 if np.isnan(scores[0]) else np.nanargmax(scores)
    return int(best)


def _weights_of_rows(boxes, iou_threshold, sigma, method, offset):
    """Make a function from a box to the factors of the scores of all boxes."""
    iou_threshold, sigma = np.float32(iou_threshold), np.float32(sigma)

    def weigh(overlaps: np.ndarray) -> np.ndarray:
        if method == 2:
            # In float64, which comes nearer to C's float32 exp than NumPy's.
            power = -(overlaps * overlaps) / sigma
            return np.exp(power.astype(np.float64)).astype(np.float32)
        lowered = 1 - overlaps if method == 1 else np.float32(0)
        return np.where(overlaps >= iou_threshold, lowered, np.float32(1))

    def of_rows(rows: Tensor) -> np.ndarray:
        return weigh(_overlaps(rows, boxes, 0, offset).numpy())

    if len(boxes) ** 2 <= _MOST_OVERLAPS:
        return of_rows(boxes).__getitem__
    return lambda row: of_rows(boxes[row : row + 1])[0]


def bbox_overlaps(
    bboxes1: Tensor,
    bboxes2: Tensor,
    ious: Tensor,
    mode: int,
    aligned: bool,
    offset: int,
) -> None:
    """Overlaps of two sets of boxes.

    Args:
        bboxes1 (Tensor): Corners, of shape ``(M, 4)``.
        bboxes2 (Tensor): Corners, of shape ``(N, 4)``.
        ious (Tensor): Receives the overlaps, of shape ``(M, N)``, or ``(M,)``
            if aligned.
        mode (int): 0 to divide the intersection by the union, 1 to divide it
            by the first box.
        aligned (bool): Whether to pair the boxes one by one.
        offset (int): As in :func:`nms`.
    """
    if aligned:
        bboxes1 = bboxes1[:, None]
        bboxes2 = bboxes2[:, None]
        ious = ious[:, None, None]
    ious.copy_(_overlaps(bboxes1, bboxes2, mode, offset))


def _overlaps(
    boxes1: Tensor, boxes2: Tensor, mode: int, offset: int
) -> Tensor:
    # mmcv's operations in mmcv's order, so that results agree to the bit.
    x1, y1, x2, y2 = boxes1[..., :, None, :].unbind(-1)
    u1, v1, u2, v2 = boxes2[..., None, :, :].unbind(-1)
    width = (torch.min(x2, u2) - torch.max(x1, u1) + offset).clamp_(min=0)
    height = (torch.min(y2, v2) - torch.max(y1, v1) + offset).clamp_(min=0)
    inter = width.mul_(height)
    area = (x2 - x1 + offset) * (y2 - y1 + offset)
    if mode == 0:
        area = area + (u2 - u1 + offset) * (v2 - v1 + offset) - inter
    return inter / area
