# Copyright (c) mmfft authors. All rights reserved.
"""Proposals and regions of two-stage detectors, in operators of ONNX.

The arithmetic is that of mmdet's ``RPNHead``, ``SingleRoIExtractor`` and
``BBoxHead``.
"""

from collections.abc import Sequence

import torch
from mmcv.ops import RoIAlign
from mmdet.models import (
    BBoxHead,
    FCNMaskHead,
    RPNHead,
    SingleRoIExtractor,
    StandardRoIHead,
    TwoStageDetector,
)
from torch import Tensor, nn
from torchvision.ops import roi_align

from .. import heads
from ..errors import ConfigError
from .detections import (
    EMPTY,
    as_objects,
    candidates,
    clip,
    decode,
    require_known_coder,
    require_known_dense_head,
    require_methods,
    require_plain_nms,
    require_type,
    suppress,
    surest,
)
from .networks import cast


def require_known_detector(model: TwoStageDetector) -> None:
    """See that a detector's objects are computed as in this module.

    Args:
        model (TwoStageDetector): Detector of mmdet.

    Raises:
        ConfigError: If they are not; the message names what differs.
    """
    require_methods(model, TwoStageDetector, 'predict', 'extract_feat')
    if not model.with_rpn:
        raise ConfigError(f'{type(model).__name__} has no rpn_head')
    masks = isinstance(model.rpn_head, heads.RPNHead)
    require_known_dense_head(
        model.rpn_head, heads.RPNHead if masks else RPNHead
    )
    roi_head = model.roi_head
    require_methods(
        roi_head,
        StandardRoIHead,
        'predict',
        'predict_bbox',
        'predict_mask',
        '_bbox_forward',
        '_mask_forward',
    )
    if roi_head.with_shared_head:
        raise ConfigError('roi_head has a shared_head')
    steps = 'predict_by_feat', '_predict_by_feat_single'
    head = roi_head.bbox_head
    require_methods(head, BBoxHead, *steps)
    if not head.with_cls or not head.with_reg or head.custom_cls_channels:
        raise ConfigError('bbox_head has no plain classes and boxes')
    require_known_coder(head.bbox_coder)
    require_known_extractor(roi_head.bbox_roi_extractor)
    require_plain_nms(roi_head.test_cfg)
    if roi_head.test_cfg.max_per_img <= 0:
        raise ConfigError('test_cfg.rcnn has max_per_img <= 0')
    if roi_head.with_mask:
        require_methods(roi_head.mask_head, FCNMaskHead, *steps)
        require_known_extractor(roi_head.mask_roi_extractor)


def require_known_extractor(extractor: nn.Module) -> None:
    """See that regions are cut out by what ONNX calls ``RoiAlign``.

    Args:
        extractor (nn.Module): Extractor of a RoI head of mmdet.

    Raises:
        ConfigError: If they are not; the message names what differs.
    """
    require_type(extractor, SingleRoIExtractor)
    for layer in extractor.roi_layers:
        require_type(layer, RoIAlign)
        if layer.pool_mode != 'avg':
            raise ConfigError(f'RoIAlign has pool_mode={layer.pool_mode!r}')


class RoIExtractor(nn.Module):
    """A ``SingleRoIExtractor`` of mmdet whose operators ONNX has.

    Args:
        extractor (SingleRoIExtractor): Extractor whose settings are followed.
    """

    def __init__(self, extractor: SingleRoIExtractor) -> None:
        super().__init__()
        self.extractor = extractor
        self.num_inputs = extractor.num_inputs

    def forward(self, feats: Sequence[Tensor], rois: Tensor) -> Tensor:
        """Cut out each region from the level of its size.

        Args:
            feats (Sequence[Tensor]): Levels ``(B, C, h, w)``.
            rois (Tensor): Number of the image and box, float32 ``(K, 5)``.

        Returns:
            Tensor: Regions ``(K, C, *output_size)``.
        """
        levels = self.extractor.map_roi_levels(rois, len(feats))
        places, regions = [], []
        for i, (level, layer) in enumerate(
            zip(feats, self.extractor.roi_layers)
        ):
            (place,) = torch.where(levels == i)
            places.append(place)
            regions.append(
                # Runtimes have it in float32 only.
                roi_align(
                    cast(level, torch.float32),
                    rois[place],
                    layer.output_size,
                    layer.spatial_scale,
                    layer.sampling_ratio or -1,
                    layer.aligned,
                )
            )
        ordered = torch.cat(regions)
        ordered = ordered.index_put((torch.cat(places),), ordered)
        return cast(ordered, feats[0].dtype)


def propose(
    head: RPNHead,
    scores: Sequence[Tensor],
    deltas: Sequence[Tensor],
    image_size: Tensor,
) -> Tensor:
    """Decode proposals, and suppress those that overlap on their level.

    Args:
        head (RPNHead): Head whose settings are followed.
        scores (Sequence[Tensor]): Logits of each level, float32
            ``(B, anchors, h, w)``.
        deltas (Sequence[Tensor]): Deltas of each level, float32
            ``(B, anchors * 4, h, w)``.
        image_size (Tensor): Height and width in pixels within which boxes
            are clipped, int64 ``(2,)``.

    Returns:
        Tensor: Proposals, the surest first, float32 ``(B, max_per_img, 5)``
        as ``x1, y1, x2, y2, score``. Rows without one are zero, but for the
        score, which is EMPTY.
    """
    cfg = head.test_cfg
    if isinstance(head, heads.RPNHead):
        strides = head.prior_generator.strides
        scores = [
            _within(level, stride, image_size)
            for level, stride in zip(scores, strides)
        ]
    boxes, best, _ = candidates(head, scores, deltas, image_size)
    # Any score may be a proposal's.
    kept = suppress(
        boxes.flatten(0, 1),
        best.flatten(0, 1),
        cfg.nms.iou_threshold,
        EMPTY / 2,
    )
    kept = kept.view(best.shape).flatten(1)
    proposals, _ = surest(boxes.flatten(1, 2), kept, cfg.max_per_img)
    return proposals


def _within(
    scores: Tensor, stride: tuple[int, int], image_size: Tensor
) -> Tensor:
    """Scores as :class:`mmfft.heads.RPNHead` has them in the padding."""
    rows, columns = (
        torch.arange(length, device=scores.device)
        for length in scores.shape[-2:]
    )
    width, height = stride
    within = (rows * height < image_size[0])[:, None] & (
        columns * width < image_size[1]
    )
    return scores.where(
        within, scores.new_tensor(torch.finfo(scores.dtype).min)
    )


def as_rois(boxes: Tensor, is_box: Tensor) -> tuple[Tensor, Tensor]:
    """Collect the boxes of all images as mmdet's RoI heads take them.

    The first row of each image is always among them, since not all runtimes
    compute with nothing.

    Args:
        boxes (Tensor): Boxes ``(B, N, 4)``, the surest first.
        is_box (Tensor): Whether a row is a box, bool ``(B, N)``.

    Returns:
        tuple[Tensor, Tensor]: Number of the image and box, float32
        ``(K, 5)``; and their places among the ``B * N`` rows, int64 ``(K,)``.
    """
    count = boxes.shape[1]
    first = torch.arange(count, device=boxes.device) == 0
    (place,) = torch.where((is_box | first).flatten())
    image = torch.div(place, count, rounding_mode='floor')
    rois = [image[:, None].to(boxes), boxes.flatten(0, 1)[place]]
    return torch.cat(rois, 1), place


def spread(values: Tensor, place: Tensor, like: Tensor) -> Tensor:
    """Give values of boxes back to the rows of all images.

    Args:
        values (Tensor): Values of each box ``(K, ...)``.
        place (Tensor): Places of the boxes, see :func:`as_rois`.
        like (Tensor): Boxes ``(B, N, 5)`` whose rows are meant.

    Returns:
        Tensor: Values ``(B, N, ...)``, zero where there is no box.
    """
    batch, count = like.shape[:2]
    rows = values.new_zeros(batch * count, *values.shape[1:])
    rows = rows.index_put((place,), values)
    return rows.view(batch, count, *values.shape[1:])


def recognize(
    roi_head: StandardRoIHead,
    proposals: Tensor,
    scores: Tensor,
    deltas: Tensor,
    image_size: Tensor,
) -> tuple[Tensor, Tensor]:
    """Decode the boxes of each class and suppress those that overlap.

    Args:
        roi_head (StandardRoIHead): Head whose settings are followed.
        proposals (Tensor): Proposals ``(B, N, 5)``, see :func:`propose`.
        scores (Tensor): Logits of each proposal, float32
            ``(B, N, classes + 1)``.
        deltas (Tensor): Deltas of each proposal, float32
            ``(B, N, classes * 4)``, or ``(B, N, 4)`` if all classes share
            them.
        image_size (Tensor): Height and width in pixels within which boxes
            are clipped, int64 ``(2,)``.

    Returns:
        tuple[Tensor, Tensor]: As of :func:`mmfft.deploy.detections.detect`.
    """
    head, cfg = roi_head.bbox_head, roi_head.test_cfg
    batch, count = proposals.shape[:2]
    classes = head.num_classes
    is_box = proposals[..., 4:] != EMPTY
    scores = scores.softmax(-1)[..., :classes]
    scores = scores.where(is_box, scores.new_tensor(EMPTY)).transpose(1, 2)
    boxes = decode(
        head.bbox_coder,
        proposals[..., :4].reshape(-1, 4),
        deltas.reshape(-1, deltas.shape[2]),
    )
    boxes = clip(boxes.view(batch, count, -1, 4), image_size)
    boxes = boxes.expand(-1, -1, classes, -1).transpose(1, 2)
    # Boxes of different classes do not suppress each other.
    kept = suppress(
        boxes.flatten(0, 1),
        scores.flatten(0, 1),
        cfg.nms.iou_threshold,
        cfg.score_thr,
    )
    kept = kept.reshape(batch, -1)
    labels = torch.arange(classes, device=boxes.device)[:, None]
    labels = labels.expand(batch, -1, count).flatten(1)
    return as_objects(boxes.flatten(1, 2), kept, labels, cfg.max_per_img)


def masks_of_classes(logits: Tensor, labels: Tensor) -> Tensor:
    """Choose the mask of each object's class.

    Args:
        logits (Tensor): Masks of each class ``(K, classes, h, w)``, or one
            for all classes ``(K, 1, h, w)``.
        labels (Tensor): Class of each object, int64 ``(K,)``; negative if
            there is no object.

    Returns:
        Tensor: Scores of the pixels from 0 to 1 ``(K, h, w)``.
    """
    if logits.shape[1] == 1:
        return logits[:, 0].sigmoid()
    chosen = labels.clamp(min=0)[:, None, None, None]
    chosen = chosen.expand(-1, -1, *logits.shape[2:])
    return logits.gather(1, chosen)[:, 0].sigmoid()
