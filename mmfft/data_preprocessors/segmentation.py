# Copyright (c) mmfft authors. All rights reserved.
from mmseg.models import data_preprocessor

from ..openmmlab.valid_sizes import give_valid_sizes
from ..registry import MODELS


@MODELS.register_module()
class SegDataPreProcessor(data_preprocessor.SegDataPreProcessor):
    """mmsegmentation's own, for features that do not depend on padding.

    A backbone of mmfft computes each image of the batch at its own size. This
    does not reach the windows of ``test_cfg.mode='slide'``.

    Args:
        *args: Arguments of ``mmseg.models.SegDataPreProcessor``.
        **kwargs: The same.
    """

    def forward(self, data: dict, training: bool = False) -> dict:
        """Make a batch, which has ``valid_sizes``.

        Args:
            data (dict): What a data loader of mmsegmentation gives.
            training (bool): Whether the batch is for training. Defaults to
                False.

        Returns:
            dict: ``inputs`` and ``data_samples``.
        """
        sizes = [tuple(image.shape[-2:]) for image in data['inputs']]
        data = super().forward(data, training)
        give_valid_sizes(data['inputs'], sizes)
        return data
