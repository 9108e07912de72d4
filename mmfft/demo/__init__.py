# Copyright (c) mmfft authors. All rights reserved.
"""What the demo runs and shows: jobs, a report, predictions of a model."""

from ..openmmlab import required

# Config below configs/demo of each part of the demo, by the demo's name, which
# its folder in work_dirs has.
CONFIGS = {
    'demo': dict(
        cls='cdfformer-nano_1xb32-6e_digit-crops.py',
        det='mask-rcnn_cdfformer-nano_fpn_1xb4-3e_digit-scenes.py',
        seg='cdfformer-nano_fpn_1xb2-2k_digit-scenes-192x256.py',
    ),
    'demo-full': dict(
        cls='cdfformer-nano_1xb32-12e_digit-crops.py',
        det='mask-rcnn_cdfformer-nano_fpn_1xb4-6e_digit-scenes.py',
        seg='cdfformer-nano_fpn_1xb2-8k_digit-scenes-192x256.py',
    ),
}
