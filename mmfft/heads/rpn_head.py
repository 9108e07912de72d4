# Copyright (c) mmfft authors. All rights reserved.
from collections.abc import Sequence

import torch
from mmdet.models import dense_heads
from torch import Tensor

from ..registry import MODELS


@MODELS.register_module()
class RPNHead(dense_heads.RPNHead):
    """mmdet's own, without proposals from the padding of a batch.

    mmdet does not train the anchors in the padding, so that they can have any
    score, and each of them that is among the best takes the place of one
    within the image. How many there are depends on the other images of the
    batch.

    Args:
        *args: Arguments of ``mmdet.models.RPNHead``.
        **kwargs: The same.
    """

    def predict_by_feat(
        self,
        cls_scores: Sequence[Tensor],
        *args,
        batch_img_metas: Sequence[dict],
        **kwargs,
    ) -> list:
        """Make proposals of the scores and boxes of all anchors.

        Args:
            cls_scores (Sequence[Tensor]): Scores of each level, of shape
                ``(B, anchors * channels, H, W)``.
            *args: Arguments of the method of mmdet's.
            batch_img_metas (Sequence[dict]): ``img_shape`` of each image,
                which is the upper left part of what it is padded to.
            **kwargs: Arguments of the method of mmdet's.

        Returns:
            list[InstanceData]: Proposals of each image.
        """
        # The loss is computed of the same tensors.
        cls_scores = [scores.detach().clone() for scores in cls_scores]
        sizes = [scores.shape[2:] for scores in cls_scores]
        for i, meta in enumerate(batch_img_metas):
            flags = self.prior_generator.valid_flags(
                sizes, meta['img_shape'], cls_scores[0].device
            )
            for scores, size, valid in zip(cls_scores, sizes, flags):
                valid = valid.view(*size, -1).permute(2, 0, 1)
                # The first channel of an anchor is that of objects.
                objects = scores[i].view(len(valid), -1, *size)[:, 0]
                objects[~valid] = torch.finfo(scores.dtype).min
        return super().predict_by_feat(
            cls_scores, *args, batch_img_metas=batch_img_metas, **kwargs
        )
