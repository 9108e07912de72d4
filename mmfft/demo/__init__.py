# Copyright (c) mmfft authors. All rights reserved.
"""What the demo shows: predictions of a model, and a report."""

from ..openmmlab import required

# Config below configs/demo of each part of the demo.
CONFIGS = dict(
    cls='cdfformer-nano_1xb64-8e_digit-crops.py',
    det='mask-rcnn_cdfformer-nano_fpn_1xb4-3e_digit-scenes.py',
    seg='cdfformer-nano_fpn_1xb2-3k_digit-scenes-192x256.py',
)
