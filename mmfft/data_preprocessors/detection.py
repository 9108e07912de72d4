# Copyright (c) mmfft authors. All rights reserved.
from mmdet.models import data_preprocessors

from ..openmmlab.valid_sizes import give_valid_sizes
from ..registry import MODELS


@MODELS.register_module()
class DetDataPreprocessor(data_preprocessors.DetDataPreprocessor):
    """mmdet's own, for features that do not depend on padding.

    A backbone of mmfft computes each image of the batch at its own size; the
    features of the padding are zero. Heads are trained to find nothing there:
    ``pad_shape``, by which mmdet ignores anchors in training but not in
    testing, is that of the batch. With ``pad_size_divisor=1`` an image alone
    is not padded at all.

    Args:
        *args: Arguments of ``mmdet.models.DetDataPreprocessor``.
        **kwargs: The same.
    """

    def forward(self, data: dict, training: bool = False) -> dict:
        """Make a batch, which has ``valid_sizes``.

        Args:
            data (dict): What a data loader of mmdet gives.
            training (bool): Whether batches are augmented. Defaults to False.

        Returns:
            dict: ``inputs`` and ``data_samples``.
        """
        sizes = [tuple(image.shape[-2:]) for image in data['inputs']]
        data = super().forward(data, training)
        if training and self.batch_augments is not None:
            # They resize batches.
            sizes = [sample.img_shape[:2] for sample in data['data_samples']]
        if training:
            for sample in data['data_samples']:
                sample.set_metainfo(dict(pad_shape=sample.batch_input_shape))
        give_valid_sizes(data['inputs'], sizes)
        return data
