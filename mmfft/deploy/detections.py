# Copyright (c) mmfft authors. All rights reserved.
"""From the outputs of a RetinaNet's head to objects, in operators of ONNX.

The arithmetic is that of mmdet's ``BaseDenseHead``, in an order that needs
neither loops over images nor lengths that depend on their content.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from mmcv.ops import nms
from mmdet.models import RetinaHead
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.models.task_modules import AnchorGenerator, DeltaXYWHBBoxCoder
from mmdet.models.task_modules.coders.delta_xywh_bbox_coder import delta2bbox
from torch import Tensor

from ..errors import ConfigError

# Label of a row without an object, and the score of a candidate that fills a
# level with fewer than ``nms_pre``.
EMPTY = -1


def require_known_head(head) -> None:
    """See that a head's objects are computed as :func:`detect` does.

    Args:
        head (nn.Module): ``bbox_head`` of a detector of mmdet.

    Raises:
        ConfigError: If they are not; the message names what differs.
    """
    if not isinstance(head, RetinaHead):
        raise ConfigError(f'{type(head).__name__} is not a RetinaHead')
    steps = (
        'predict_by_feat',
        '_predict_by_feat_single',
        '_bbox_post_process',
    )
    for name in steps:
        if getattr(type(head), name) is not getattr(BaseDenseHead, name):
            raise ConfigError(f'{type(head).__name__} has its own {name}')
    if not head.use_sigmoid_cls:
        raise ConfigError('loss_cls has use_sigmoid=False')
    for part, cls in [
        (head.prior_generator, AnchorGenerator),
        (head.bbox_coder, DeltaXYWHBBoxCoder),
    ]:
        if type(part) is not cls:
            raise ConfigError(f'{type(part).__name__} is not a {cls.__name__}')
    coder = head.bbox_coder
    if not coder.clip_border or coder.add_ctr_clamp:
        raise ConfigError(
            'bbox_coder has clip_border=False or add_ctr_clamp=True'
        )
    cfg = head.test_cfg
    # Only after it was scaled back to the image is a box compared with it.
    if cfg.get('min_bbox_size', -1) > 0:
        raise ConfigError(f'test_cfg has min_bbox_size={cfg.min_bbox_size}')
    if set(cfg.nms) - {'type', 'iou_threshold'} or cfg.nms.type != 'nms':
        raise ConfigError(f'test_cfg has nms={dict(cfg.nms)}')
    if cfg.get('nms_pre', -1) <= 0:
        raise ConfigError(f'test_cfg has nms_pre={cfg.get("nms_pre", -1)}')


def detect(
    head: RetinaHead,
    scores: Sequence[Tensor],
    deltas: Sequence[Tensor],
    image_size: Tensor,
) -> tuple[Tensor, Tensor]:
    """Decode boxes and suppress those that overlap with surer ones.

    Args:
        head (RetinaHead): Head whose settings are followed.
        scores (Sequence[Tensor]): Logits of each level, float32
            ``(B, anchors * classes, h, w)``.
        deltas (Sequence[Tensor]): Deltas of each level, float32
            ``(B, anchors * 4, h, w)``.
        image_size (Tensor): Height and width in pixels within which boxes
            are clipped, int64 ``(2,)``.

    Returns:
        tuple[Tensor, Tensor]: Objects, the surest first, float32
        ``(B, max_per_img, 5)`` as ``x1, y1, x2, y2, score`` in pixels of the
        input, and their classes, int64 ``(B, max_per_img)``. Rows without an
        object are zero, and -1 in the classes.
    """
    cfg = head.test_cfg
    sizes = [level.shape[-2:] for level in scores]
    anchors = head.prior_generator.grid_priors(
        sizes, torch.float32, scores[0].device
    )
    parts = [
        _candidates(head, *level, cfg.nms_pre)
        for level in zip(scores, deltas, anchors)
    ]
    boxes, scores, labels = (torch.cat(p, 1) for p in zip(*parts))
    limits = image_size.flip(0).to(boxes).repeat(2)
    boxes = torch.minimum(boxes.clamp(min=0), limits)
    if cfg.get('min_bbox_size', -1) >= 0:
        sides = boxes[..., 2:] - boxes[..., :2]
        scores = scores.where((sides > 0).all(-1), scores.new_tensor(EMPTY))
    # As far from each other as mmdet moves the boxes of different classes.
    highest = boxes.flatten(1).amax(1)[:, None, None]
    moved = boxes + labels.to(boxes)[..., None] * (highest + 1)
    kept = Suppression.apply(
        moved, scores[:, None], cfg.nms.iou_threshold, cfg.score_thr
    )
    image, _, number = kept.unbind(1)
    # A dense map has the same length for each image of a batch.
    chosen = torch.full_like(scores, EMPTY).index_put(
        (image, number), scores[image, number]
    )
    filling = chosen.new_full((1, cfg.max_per_img), EMPTY)
    filling = filling.expand(chosen.shape[0], -1)
    best, order = torch.cat([chosen, filling], 1).topk(cfg.max_per_img)
    order = torch.minimum(order, order.new_tensor(chosen.shape[1] - 1))
    boxes = boxes.gather(1, order[..., None].expand(-1, -1, 4))
    is_empty = best == EMPTY
    dets = torch.cat([boxes, best[..., None]], -1)
    dets = dets.masked_fill(is_empty[..., None], 0)
    return dets, labels.gather(1, order).masked_fill(is_empty, EMPTY)


def _candidates(
    head: RetinaHead,
    scores: Tensor,
    deltas: Tensor,
    anchors: Tensor,
    count: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes, scores and labels of the surest pairs of an anchor and a class.

    They are ``count`` on each level, so that a graph for any image size has
    no lengths of its own; where a level has fewer, the scores are EMPTY.
    """
    batch, classes = scores.shape[0], head.cls_out_channels
    scores = scores.permute(0, 2, 3, 1).reshape(batch, -1).sigmoid()
    deltas = deltas.permute(0, 2, 3, 1).reshape(batch, -1, 4)
    filling = scores.new_full((1, count), EMPTY).expand(batch, -1)
    best, order = torch.cat([scores, filling], 1).topk(count)
    order = torch.minimum(order, order.new_tensor(scores.shape[1] - 1))
    anchor = torch.div(order, classes, rounding_mode='floor')
    deltas = deltas.gather(1, anchor[..., None].expand(-1, -1, 4))
    coder = head.bbox_coder
    boxes = delta2bbox(
        anchors[anchor.flatten()],
        deltas.reshape(-1, 4),
        coder.means,
        coder.stds,
    )
    return boxes.view(batch, -1, 4), best, order - anchor * classes


def largest_difference(
    outputs: Sequence[np.ndarray], expected: Sequence[np.ndarray]
) -> float:
    """Largest difference between an object and the one most like it.

    Args:
        outputs (Sequence[np.ndarray]): What :func:`detect` returns, as a
            runtime computed it.
        expected (Sequence[np.ndarray]): The same of PyTorch.

    Returns:
        float: Largest difference in a score, or in a side of a box relative
        to the largest coordinate; infinite if the numbers of objects differ.
    """
    (dets, labels), (others, other_labels) = outputs, expected
    counts = [(kind >= 0).sum(1).tolist() for kind in (labels, other_labels)]
    if counts[0] != counts[1]:
        return math.inf
    scale = np.array([others[..., :4].max()] * 4 + [1], dtype=np.float32)
    largest = 0.0
    for det, label, other, other_label in zip(
        dets, labels, others, other_labels
    ):
        distances = np.abs((det[:, None] - other) / scale).max(-1)
        distances[label[:, None] != other_label] = math.inf
        largest = max(largest, distances.min(0).max())
    return float(largest)


class Suppression(torch.autograd.Function):
    """``NonMaxSuppression`` of ONNX, in PyTorch by mmcv's operator."""

    @staticmethod
    def forward(
        ctx, boxes: Tensor, scores: Tensor, iou_thr: float, score_thr: float
    ) -> Tensor:
        """Choose boxes.

        Args:
            ctx (FunctionCtx): Not used.
            boxes (Tensor): Boxes ``(B, N, 4)``, as ``x1, y1, x2, y2``.
            scores (Tensor): Scores ``(B, 1, N)``.
            iou_thr (float): Boxes overlap if their IoU is above.
            score_thr (float): Boxes are left out if their score is not above.

        Returns:
            Tensor: Image, zero and number of each box that is kept, int64
            ``(M, 3)``.
        """
        kept = []
        for image, (box, (score,)) in enumerate(zip(boxes, scores)):
            (above,) = torch.where(score > score_thr)
            _, order = nms(box[above], score[above], iou_thr)
            number = above[order]
            rows = torch.full_like(number, image), torch.zeros_like(number)
            kept.append(torch.stack([*rows, number], 1))
        return torch.cat(kept)

    @staticmethod
    def symbolic(g, boxes, scores, iou_thr: float, score_thr: float):
        """Write the operator of ONNX, without a limit on the boxes."""

        def constant(value, dtype):
            return g.op('Constant', value_t=torch.tensor([value], dtype=dtype))

        return g.op(
            'NonMaxSuppression',
            boxes,
            scores,
            constant(torch.iinfo(torch.int32).max, torch.int64),
            constant(iou_thr, torch.float32),
            constant(score_thr, torch.float32),
        )
