# Copyright (c) mmfft authors. All rights reserved.
"""From the outputs of the heads of detectors to objects, in operators of ONNX.

The arithmetic is that of mmdet's ``BaseDenseHead`` and ``BBoxHead``, in an
order that needs neither loops over images nor lengths that depend on their
content.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from mmcv.ops import nms
from mmdet.models import RetinaHead
from mmdet.models.dense_heads.anchor_head import AnchorHead
from mmdet.models.task_modules import AnchorGenerator, DeltaXYWHBBoxCoder
from mmdet.models.task_modules.coders.delta_xywh_bbox_coder import delta2bbox
from torch import Tensor, nn

from ..errors import ConfigError

# Label of a row without an object, and the score of a candidate that fills a
# level with fewer than ``nms_pre``, or that is not kept.
EMPTY = -1


def require_known_dense_head(
    head: nn.Module, cls: type[AnchorHead] = RetinaHead
) -> None:
    """See that a head's boxes are computed as :func:`candidates` does.

    Args:
        head (nn.Module): Dense head of a detector of mmdet.
        cls (type): Head of mmdet whose way of prediction it must have.
            Defaults to RetinaHead.

    Raises:
        ConfigError: If it has not; the message names what differs.
    """
    require_methods(
        head,
        cls,
        'predict_by_feat',
        '_predict_by_feat_single',
        '_bbox_post_process',
    )
    if not head.use_sigmoid_cls:
        raise ConfigError('loss_cls has use_sigmoid=False')
    require_type(head.prior_generator, AnchorGenerator)
    require_known_coder(head.bbox_coder)
    cfg = head.test_cfg
    require_plain_nms(cfg)
    # RetinaNet compares boxes with it after it scaled them to the image.
    least = cfg.get('min_bbox_size', -1)
    if cls is RetinaHead and least > 0:
        raise ConfigError(f'test_cfg has min_bbox_size={least}')
    for key in ('nms_pre', 'max_per_img'):
        if cfg.get(key, -1) <= 0:
            raise ConfigError(f'test_cfg has {key}={cfg.get(key, -1)}')


def require_methods(part: nn.Module, cls: type, *names: str) -> None:
    """See that a part of a detector has methods of a class of mmdet.

    Args:
        part (nn.Module): Part of a detector.
        cls (type): Class of mmdet.
        *names (str): Names of the methods.

    Raises:
        ConfigError: If it is no such class, or has methods of its own.
    """
    own = type(part).__name__
    if not isinstance(part, cls):
        raise ConfigError(f'{own} is not a {cls.__name__}')
    for name in names:
        if getattr(type(part), name) is not getattr(cls, name):
            raise ConfigError(f'{own} has its own {name}')


def require_type(part, cls: type) -> None:
    """See that a part of a detector is of a class, and of no other.

    Args:
        part (Any): Part of a detector.
        cls (type): Class of mmdet or mmcv.

    Raises:
        ConfigError: If it is not.
    """
    if type(part) is not cls:
        raise ConfigError(f'{type(part).__name__} is not a {cls.__name__}')


def require_known_coder(coder) -> None:
    """See that boxes are decoded by ``delta2bbox`` and clipped afterwards.

    Args:
        coder (BaseBBoxCoder): Coder of a head.

    Raises:
        ConfigError: If they are not.
    """
    require_type(coder, DeltaXYWHBBoxCoder)
    if not coder.clip_border or coder.add_ctr_clamp:
        raise ConfigError(
            'bbox_coder has clip_border=False or add_ctr_clamp=True'
        )


def require_plain_nms(cfg) -> None:
    """See that a head's suppression is that of ONNX.

    Args:
        cfg (ConfigDict): ``test_cfg`` of a head.

    Raises:
        ConfigError: If it is not.
    """
    if set(cfg.nms) - {'type', 'iou_threshold'} or cfg.nms.type != 'nms':
        raise ConfigError(f'test_cfg has nms={dict(cfg.nms)}')


def detect(
    head: RetinaHead,
    scores: Sequence[Tensor],
    deltas: Sequence[Tensor],
    image_size: Tensor,
) -> tuple[Tensor, Tensor]:
    """Decode the boxes of a RetinaNet and suppress those that overlap.

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
    parts = candidates(head, scores, deltas, image_size)
    boxes, scores, labels = (part.flatten(1, 2) for part in parts)
    # As far from each other as mmdet moves the boxes of different classes.
    highest = boxes.flatten(1).amax(1)[:, None, None]
    moved = boxes + labels.to(boxes)[..., None] * (highest + 1)
    kept = suppress(moved, scores, cfg.nms.iou_threshold, cfg.score_thr)
    return as_objects(boxes, kept, labels, cfg.max_per_img)


def candidates(
    head: AnchorHead,
    scores: Sequence[Tensor],
    deltas: Sequence[Tensor],
    image_size: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes of the surest pairs of an anchor and a class on each level.

    They are ``nms_pre`` on each of ``L`` levels, so that a graph for any image
    size has no lengths of its own. The scores are EMPTY where a level has
    fewer, and where a box is smaller than ``min_bbox_size``.

    Args:
        head (AnchorHead): Head whose settings are followed.
        scores (Sequence[Tensor]): Logits of each level, float32
            ``(B, anchors * classes, h, w)``.
        deltas (Sequence[Tensor]): Deltas of each level, float32
            ``(B, anchors * 4, h, w)``.
        image_size (Tensor): Height and width in pixels within which boxes
            are clipped, int64 ``(2,)``.

    Returns:
        tuple[Tensor, Tensor, Tensor]: Boxes ``(B, L, nms_pre, 4)``, scores
        and labels ``(B, L, nms_pre)``.
    """
    cfg = head.test_cfg
    sizes = [level.shape[-2:] for level in scores]
    anchors = head.prior_generator.grid_priors(
        sizes, torch.float32, scores[0].device
    )
    parts = [
        _candidates_of_level(head, *level, cfg.nms_pre)
        for level in zip(scores, deltas, anchors)
    ]
    boxes, best, labels = (torch.stack(part, 1) for part in zip(*parts))
    boxes = clip(boxes, image_size)
    least = cfg.get('min_bbox_size', -1)
    if least >= 0:
        sides = boxes[..., 2:] - boxes[..., :2]
        large = (sides > least).all(-1)
        best = best.where(large, best.new_tensor(EMPTY))
    return boxes, best, labels


def _candidates_of_level(
    head: AnchorHead,
    scores: Tensor,
    deltas: Tensor,
    anchors: Tensor,
    count: int,
) -> tuple[Tensor, Tensor, Tensor]:
    batch, classes = scores.shape[0], head.cls_out_channels
    scores = scores.permute(0, 2, 3, 1).reshape(batch, -1).sigmoid()
    deltas = deltas.permute(0, 2, 3, 1).reshape(batch, -1, 4)
    best, order = _top(scores, count)
    anchor = torch.div(order, classes, rounding_mode='floor')
    deltas = deltas.gather(1, anchor[..., None].expand(-1, -1, 4))
    deltas = deltas.reshape(-1, 4)
    boxes = decode(head.bbox_coder, anchors[anchor.flatten()], deltas)
    return boxes.view(batch, -1, 4), best, order - anchor * classes


def _top(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The ``count`` highest scores and their places; EMPTY if too few."""
    filling = scores.new_full((1, count), EMPTY).expand(scores.shape[0], -1)
    best, order = torch.cat([scores, filling], 1).topk(count)
    return best, torch.minimum(order, order.new_tensor(scores.shape[1] - 1))


def decode(coder: DeltaXYWHBBoxCoder, boxes: Tensor, deltas: Tensor) -> Tensor:
    """Move boxes by deltas.

    Args:
        coder (DeltaXYWHBBoxCoder): Coder of a head.
        boxes (Tensor): Anchors or proposals ``(N, 4)``.
        deltas (Tensor): Deltas ``(N, 4 * k)``, of ``k`` boxes for each.

    Returns:
        Tensor: Boxes ``(N, 4 * k)``, not clipped.
    """
    return delta2bbox(boxes, deltas, coder.means, coder.stds)


def clip(boxes: Tensor, image_size: Tensor) -> Tensor:
    """Clip boxes ``(..., 4)`` to an image of the size ``(2,)``."""
    limits = image_size.flip(0).to(boxes).repeat(2)
    return torch.minimum(boxes.clamp(min=0), limits)


def suppress(
    boxes: Tensor, scores: Tensor, iou_thr: float, score_thr: float
) -> Tensor:
    """Suppress boxes that overlap with a surer one of their group.

    Args:
        boxes (Tensor): Boxes of each group ``(G, N, 4)``.
        scores (Tensor): Their scores ``(G, N)``.
        iou_thr (float): Boxes overlap if their IoU is above.
        score_thr (float): Boxes are left out if their score is not above.

    Returns:
        Tensor: Scores ``(G, N)``, EMPTY where a box is not kept.
    """
    kept = Suppression.apply(boxes, scores[:, None], iou_thr, score_thr)
    group, _, number = kept.unbind(1)
    # A dense map has the same length for each group.
    return torch.full_like(scores, EMPTY).index_put(
        (group, number), scores[group, number]
    )


def surest(boxes: Tensor, scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Choose the boxes with the highest scores.

    Args:
        boxes (Tensor): Boxes ``(B, N, 4)``.
        scores (Tensor): Their scores ``(B, N)``, EMPTY if there is no box.
        count (int): Number of boxes to choose.

    Returns:
        tuple[Tensor, Tensor]: Boxes with scores ``(B, count, 5)``, zeros with
        the score EMPTY if there are fewer; and their places among the ``N``,
        int64 ``(B, count)``.
    """
    best, order = _top(scores, count)
    boxes = boxes.gather(1, order[..., None].expand(-1, -1, 4))
    best = best[..., None]
    boxes = boxes.masked_fill(best == EMPTY, 0)
    return torch.cat([boxes, best], -1), order


def as_objects(
    boxes: Tensor, scores: Tensor, labels: Tensor, count: int
) -> tuple[Tensor, Tensor]:
    """Choose the objects that an exported detector returns.

    Args:
        boxes (Tensor): Boxes ``(B, N, 4)``.
        scores (Tensor): Their scores ``(B, N)``, EMPTY if there is no box.
        labels (Tensor): Their classes, int64 ``(B, N)``.
        count (int): Number of rows of each image.

    Returns:
        tuple[Tensor, Tensor]: As of :func:`detect`.
    """
    dets, order = surest(boxes, scores, count)
    is_empty = dets[..., 4] == EMPTY
    labels = labels.gather(1, order).masked_fill(is_empty, EMPTY)
    return dets.masked_fill(is_empty[..., None], 0), labels


def largest_difference(
    outputs: Sequence[np.ndarray],
    expected: Sequence[np.ndarray],
    ignored: float = 0,
) -> float:
    """Largest difference between an object and the one most like it.

    Args:
        outputs (Sequence[np.ndarray]): What :func:`detect` returns, as a
            runtime computed it.
        expected (Sequence[np.ndarray]): The same of PyTorch.
        ignored (float): Share of the objects, rounded up, that may be missing
            or be others. Defaults to none.

    Returns:
        float: Largest difference in a score, or in a side of a box relative
        to the largest coordinate; infinite if the numbers of objects differ.
    """
    (dets, labels), (others, other_labels) = outputs, expected
    scale = np.array([others[..., :4].max()] * 4 + [1], dtype=np.float32)
    largest = 0.0
    for det, label, other, other_label in zip(
        dets, labels, others, other_labels
    ):
        count = (other_label >= 0).sum()
        spared = math.ceil(ignored * count)
        if abs((label >= 0).sum() - count) > spared:
            return math.inf
        distances = np.abs((det[:, None] - other) / scale).max(-1)
        distances[label[:, None] != other_label] = math.inf
        nearest = np.sort(distances.min(0))
        largest = max(largest, nearest[len(nearest) - spared - 1])
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
