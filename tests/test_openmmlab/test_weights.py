# Copyright (c) mmfft authors. All rights reserved.
"""Whether weights fit the models of the toolboxes, and what they say."""

import pytest
import torch
from config_files import load
from mmengine.model import BaseModule
from torch import nn

from mmfft.engine import build_model
from mmfft.openmmlab.weights import load_into

DEMO = 'configs/demo/'
DET = DEMO + 'mask-rcnn_cdfformer-nano_fpn_1xb4-3e_digit-scenes.py'
SEG = DEMO + 'cdfformer-nano_fpn_1xb2-2k_digit-scenes-192x256.py'


@pytest.mark.parametrize(
    ('config', 'options', 'said'),
    [
        (
            DET,
            {
                'model.roi_head.bbox_head.num_classes': 3,
                'model.roi_head.mask_head.num_classes': 3,
            },
            [
                'model.roi_head.bbox_head.num_classes is 10, 3 in the file',
                'model.roi_head.mask_head.num_classes is 10, 3 in the file',
            ],
        ),
        (
            SEG,
            {'model.decode_head.num_classes': 2},
            ['model.decode_head.num_classes is 11, 2 in the file'],
        ),
        (
            'configs/gfnet/retinanet_gfnet-h-ti_fpn_1x_coco.py',
            {'model.bbox_head.num_classes': 7},
            ['model.bbox_head.num_classes is 80, 7 in the file'],
        ),
    ],
)
def test_classes_are_named_by_their_argument(config, options, said):
    cfg = load(config)
    model = build_model(cfg)
    cfg.merge_from_dict(options)
    fit = load_into(model, build_model(cfg).state_dict(), 'it')
    assert fit.differing == said
    assert not fit.missing and not fit.complete


def test_versions_of_modules_count():
    """A batch norm of an old file has no num_batches_tracked."""
    model = nn.Sequential(nn.BatchNorm2d(2))
    weights = model.state_dict()
    del weights['0.num_batches_tracked']
    assert load_into(model, weights, 'it').complete


def test_what_modules_rename_or_resize_is_loaded():
    class Renaming(BaseModule):
        def __init__(self):
            super().__init__()
            self.new = nn.Parameter(torch.zeros(2))

        def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
            if f'{prefix}old' in state_dict:
                old = state_dict.pop(f'{prefix}old')
                state_dict[f'{prefix}new'] = old[:2]
            super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    model = nn.Sequential(Renaming())
    fit = load_into(model, {'0.old': torch.ones(3)}, 'it')
    assert fit.complete and fit.taken == 1
    assert torch.equal(model[0].new, torch.ones(2))
    assert not load_into(model, {'0.older': torch.ones(3)}, 'it').complete
