# Copyright (c) mmfft authors. All rights reserved.
"""Detectors of mmdet: image in, objects out.

What an image becomes on the way are outputs, too. They are inner tensors of
the exported file, at which it is cut into the parts that are compared with
PyTorch: which boxes are chosen depends on which of two numbers is larger, so
each part is given what its predecessor might have computed.
"""

import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from mmdet.models import RetinaHead, TwoStageDetector
from torch import Tensor, nn

from ..errors import ConfigError
from .detections import (
    EMPTY,
    detect,
    largest_difference,
    require_known_dense_head,
)
from .networks import Network, Shape, cast, replace_modules
from .regions import (
    RoIExtractor,
    SingleRoIExtractor,
    as_rois,
    masks_of_classes,
    propose,
    recognize,
    require_known_detector,
    spread,
)


def detector(model: nn.Module, metadata: dict = {}) -> Network:
    """Wrap a detector of mmdet: whole if its heads are known, or its features.

    Args:
        model (nn.Module): Detector of mmdet.
        metadata (dict): See :class:`Network`. Defaults to none.

    Returns:
        Network: :class:`MaskRCNN`, :class:`FasterRCNN`, :class:`RetinaNet`, or
        :class:`Features` whose metadata say under ``features_because`` why
        they are not more.
    """
    try:
        if isinstance(model, TwoStageDetector):
            require_known_detector(model)
            has_masks = model.roi_head.with_mask
            return (MaskRCNN if has_masks else FasterRCNN)(model, metadata)
        if not hasattr(model, 'bbox_head'):
            raise ConfigError(
                f'{type(model).__name__} is neither a TwoStageDetector nor '
                'has it a bbox_head'
            )
        require_known_dense_head(model.bbox_head, RetinaHead)
        return RetinaNet(model, metadata)
    except ConfigError as error:
        return Features(model, dict(metadata, features_because=str(error)))


class Features(Network):
    """Backbone and neck of a detector.

    Outputs are ``feature_0``, ... ``(B, C, h, w)`` for each level.
    """

    def named_outputs(self, image: Tensor) -> dict[str, Tensor]:
        features = self.model.extract_feat(image)
        return {f'feature_{i}': level for i, level in enumerate(features)}


class Part(Network):
    """A part of a detector, from some tensors to others."""

    # Names of the tensors, in the order in which the part takes them; a name
    # stands for each level, too.
    takes: tuple[str, ...] = ()

    def chosen(self, made: dict[str, Tensor]) -> dict[str, Tensor]:
        """Choose what the part takes from all tensors so far."""
        return {
            name: value
            for kind in self.takes
            for name, value in made.items()
            if re.fullmatch(rf'{kind}(_\d+)?', name)
        }

    def inputs(self, shape: Shape) -> dict[str, Tensor]:
        return self.chosen(made_up(self.model, shape))


class Levels(Part):
    """What a dense head computes from an image.

    Outputs are ``cls_score_0``, ... and then ``bbox_pred_0``, ... for each
    level: logits ``(B, anchors * classes, h, w)`` and deltas
    ``(B, anchors * 4, h, w)``. Before them come ``feature_0``, ...
    ``(B, C, h, w)`` if the detector has a second stage.
    """

    takes = ('input',)

    def inputs(self, shape: Shape) -> dict[str, Tensor]:
        return Network.inputs(self, shape)

    def named_outputs(self, image: Tensor) -> dict[str, Tensor]:
        features = self.model.extract_feat(image)
        outputs = {}
        head = getattr(self.model, 'rpn_head', None)
        if head is not None:
            outputs = {f'feature_{i}': x for i, x in enumerate(features)}
        scores, deltas = (head or self.model.bbox_head)(features)
        for kind, levels in [('cls_score', scores), ('bbox_pred', deltas)]:
            for i, level in enumerate(levels):
                outputs[f'{kind}_{i}'] = cast(level, torch.float32)
        return outputs


@lru_cache(maxsize=1)  # the parts of a detector are compared in turn
def made_up(model: nn.Module, shape: Shape) -> dict[str, Tensor]:
    """Make tensors of a detector that is sure of what it finds.

    A trained one finds nothing in noise, and with random weights all scores
    are alike.

    Args:
        model (nn.Module): Detector of mmdet.
        shape (tuple[int, int, int]): Number of images, height and width.

    Returns:
        dict[str, Tensor]: What all parts of the detector take, by name, the
        same in every call.
    """
    levels = Levels(model)
    made = levels.inputs(shape)
    with torch.no_grad():
        outputs = levels.named_outputs(*made.values())
    generator = torch.Generator().manual_seed(0)
    for name, out in outputs.items():
        noise = torch.randn(out.shape, generator=generator)
        if name.startswith('cls_score'):
            noise = 2 * noise - 4
        elif name.startswith('bbox_pred'):
            noise = noise / 4
        made[name] = noise
    height, width = shape[1:]
    inner = [height - height // 8, width - width // 8]
    made['image_size'] = torch.tensor(inner)
    if hasattr(model, 'rpn_head'):
        made |= _made_up_regions(model, shape, generator)
    return made


def _made_up_regions(
    model: TwoStageDetector, shape: Shape, generator: torch.Generator
) -> dict[str, Tensor]:
    batch, *size = shape
    limits = torch.tensor(size[::-1])

    def boxes(count):
        def draw(sides):
            return torch.rand(batch, count, sides, generator=generator)

        # Small ones as well as large ones.
        start = 0.9 * draw(2) * limits
        end = start + (limits - start) * draw(1) ** 3
        boxes = torch.cat([start, end, draw(1)], -1)
        boxes[:, count - count // 8 :] = EMPTY
        return boxes

    head = model.roi_head.bbox_head
    classes = head.num_classes
    proposals = boxes(model.rpn_head.test_cfg.max_per_img)
    scores, deltas = (
        torch.randn(*proposals.shape[:2], n, generator=generator)
        for n in (classes + 1, 4 * (1 if head.reg_class_agnostic else classes))
    )
    dets = boxes(model.roi_head.test_cfg.max_per_img)
    labels = torch.randint(classes, dets.shape[:2], generator=generator)
    labels[dets[..., 4] == EMPTY] = EMPTY
    return dict(
        proposals=proposals,
        box_scores=3 * scores,
        box_deltas=deltas,
        dets=dets,
        labels=labels,
    )


def _within(image_size: Tensor, image: Tensor) -> Tensor:
    """No image is larger than its tensor, whatever the user says."""
    sides = [torch.as_tensor(side) for side in image.shape[2:]]
    return torch.minimum(image_size, torch.stack(sides))


class Objects(Part):
    """Objects of a RetinaNet from the outputs of :class:`Levels`.

    They are ``dets`` and ``labels``, described at
    :func:`mmfft.deploy.detections.detect`. Of the image, only the size counts.
    """

    takes = ('input', 'cls_score', 'bbox_pred', 'image_size')

    def named_outputs(
        self, image: Tensor, *others: Tensor
    ) -> dict[str, Tensor]:
        *levels, image_size = others
        half = len(levels) // 2
        dets, labels = detect(
            self.model.bbox_head,
            levels[:half],
            levels[half:],
            _within(image_size, image),
        )
        return dict(dets=dets, labels=labels)

    def difference(
        self, outputs: Sequence[np.ndarray], expected: Sequence[np.ndarray]
    ) -> float:
        """Largest difference between an object and the one most like it.

        Two objects whose scores differ by a rounding error may change places.
        """
        return largest_difference(outputs, expected)


class Proposals(Part):
    """Proposals of a two-stage detector from the outputs of :class:`Levels`.

    They are ``proposals``, described at :func:`mmfft.deploy.regions.propose`.
    """

    takes = Objects.takes

    def named_outputs(
        self, image: Tensor, *others: Tensor
    ) -> dict[str, Tensor]:
        *levels, image_size = others
        half = len(levels) // 2
        proposals = propose(
            self.model.rpn_head,
            levels[:half],
            levels[half:],
            _within(image_size, image),
        )
        return dict(proposals=proposals)

    def difference(
        self, outputs: Sequence[np.ndarray], expected: Sequence[np.ndarray]
    ) -> float:
        """Largest difference between a proposal and the one most like it.

        Of a thousand, some overlap by the threshold but for a rounding error.
        """
        labelled = [
            (boxes, np.where(boxes[..., 4] == EMPTY, EMPTY, 0))
            for (boxes,) in (outputs, expected)
        ]
        return largest_difference(*labelled, ignored=0.01)


class Regions(Part):
    """What the box head says of proposals, given the features.

    Outputs are ``box_scores`` ``(B, N, classes + 1)`` and ``box_deltas``
    ``(B, N, classes * 4)``.
    """

    takes = ('feature', 'proposals')

    def named_outputs(self, *inputs: Tensor) -> dict[str, Tensor]:
        *features, proposals = inputs
        rois, place = as_rois(proposals[..., :4], proposals[..., 4] != EMPTY)
        told = self.model.roi_head._bbox_forward(features, rois)
        scores, deltas = (
            spread(cast(told[kind], torch.float32), place, proposals)
            for kind in ('cls_score', 'bbox_pred')
        )
        return dict(box_scores=scores, box_deltas=deltas)


class RegionObjects(Objects):
    """Objects of a two-stage detector from the outputs of :class:`Regions`."""

    takes = ('input', 'proposals', 'box_scores', 'box_deltas', 'image_size')

    def named_outputs(
        self, image: Tensor, *others: Tensor
    ) -> dict[str, Tensor]:
        *regions, image_size = others
        dets, labels = recognize(
            self.model.roi_head, *regions, _within(image_size, image)
        )
        return dict(dets=dets, labels=labels)


class Masks(Part):
    """Masks of objects, given the features.

    The output is ``masks`` ``(B, N, h, w)``: scores of the pixels from 0 to 1
    in a grid over each box, zero where there is no object.
    """

    takes = ('feature', 'dets', 'labels')

    def named_outputs(self, *inputs: Tensor) -> dict[str, Tensor]:
        *features, dets, labels = inputs
        rois, place = as_rois(dets[..., :4], labels != EMPTY)
        told = self.model.roi_head._mask_forward(features, rois)
        label = labels.flatten()[place]
        logits = cast(told['mask_preds'], torch.float32)
        masks = masks_of_classes(logits, label)
        return dict(masks=spread(masks, place, dets))


class Detector(Network):
    """A detector, whole: image in, objects out.

    Its second input, ``image_size``, is the height and width of the image
    inside the padded tensor: the toolbox clips boxes to it before it
    suppresses any. Outputs are ``dets``, ``labels`` and, if the detector has
    them, ``masks``.
    """

    task = 'detection'
    optional_inputs = dict(image_size=np.full(2, np.iinfo(np.int32).max))
    # The parts, in order.
    kinds: tuple[type[Part], ...] = ()

    def parts(self) -> list[Network]:
        return [kind(self.model) for kind in self.kinds]

    def inputs(self, shape: Shape) -> dict[str, Tensor]:
        return dict(super().inputs(shape), image_size=torch.tensor(shape[1:]))

    def named_outputs(
        self, image: Tensor, image_size: Tensor
    ) -> dict[str, Tensor]:
        made = dict(input=image, image_size=image_size)
        for part in self.parts():
            made |= part.named_outputs(*part.chosen(made).values())
        found = {name: made.pop(name) for name in self.final_outputs}
        del made['input'], made['image_size']
        return {**found, **made}


class RetinaNet(Detector):
    """A RetinaNet."""

    kinds = (Levels, Objects)
    final_outputs = ('dets', 'labels')

    def __init__(self, model: nn.Module, metadata: dict = {}):
        super().__init__(model, metadata)
        cfg = model.bbox_head.test_cfg
        self.metadata.update(
            score_thr=cfg.score_thr,
            nms_pre=cfg.nms_pre,
            iou_threshold=cfg.nms.iou_threshold,
            max_per_img=cfg.max_per_img,
        )


class FasterRCNN(Detector):
    """A Faster R-CNN."""

    kinds = (Levels, Proposals, Regions, RegionObjects)
    final_outputs = ('dets', 'labels')

    def __init__(self, model: nn.Module, metadata: dict = {}):
        super().__init__(model, metadata)
        cfg = model.roi_head.test_cfg
        self.metadata.update(
            score_thr=cfg.score_thr,
            iou_threshold=cfg.nms.iou_threshold,
            max_per_img=cfg.max_per_img,
        )

    def replace_unexportable(self) -> None:
        replace_modules(self, {SingleRoIExtractor: RoIExtractor})


class MaskRCNN(FasterRCNN):
    """A Mask R-CNN."""

    kinds = (*FasterRCNN.kinds, Masks)
    final_outputs = (*FasterRCNN.final_outputs, 'masks')

    def __init__(self, model: nn.Module, metadata: dict = {}):
        super().__init__(model, metadata)
        threshold = model.roi_head.test_cfg.mask_thr_binary
        self.metadata['mask_thr_binary'] = threshold
