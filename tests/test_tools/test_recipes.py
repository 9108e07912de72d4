# Copyright (c) mmfft authors. All rights reserved.
"""The recipes of each family and task, made small by ``--cfg-options``.

They train and test on embedded data that lies as ImageNet, COCO and ADE20K
do, where the configs look for them.
"""

import json
import math

import pytest
import torch
from conftest import ROOT
from mmengine.fileio import load

pytestmark = pytest.mark.slow

CONFIGS = ROOT / 'configs'
DIMS = [8, 12, 16, 24]


def tiny(*arch):
    """Options of a small model, from scratch and in single precision."""
    loader = ['num_workers=0', 'persistent_workers=False', 'batch_size=2']
    return [
        'model.backbone.arch._delete_=True',
        *(f'model.backbone.arch.{key}' for key in arch),
        'model.backbone.init_cfg=None',
        'optim_wrapper.type=OptimWrapper',
        'default_hooks.logger.interval=1',
        *(f'train_dataloader.{key}' for key in loader),
        *(f'test_dataloader.{key}' for key in loader),
        'train_dataloader.dataset.indices=5',
        'test_dataloader.dataset.indices=2',
    ]


DFFORMER = tiny(f'embed_dims={DIMS}', 'depths=[1,1,1,1]')
GFNET = tiny('embed_dim=24', 'depth=2')
GFNET_H = tiny(f'embed_dims={DIMS}', 'depths=[1,1,1,1]', 'layer_scale=1e-3')

IN1K = [
    'model.backbone.img_size=32',
    'model.head.in_channels=24',
    'train_cfg.max_epochs=1',
    'test_dataloader.dataset.pipeline.1.scale=36',
    'test_dataloader.dataset.pipeline.2.crop_size=32',
]
IN1K_DFFORMER = [
    'train_dataloader.dataset.pipeline.1.transforms.0.0.scale=32',
    'train_dataloader.dataset.pipeline.1.transforms.1.0.scale=32',
    *IN1K,
]
IN1K_GFNET = ['train_dataloader.dataset.pipeline.1.scale=32', *IN1K]
COCO = [
    'model.backbone.img_size=(96,128)',
    'train_cfg.max_epochs=1',
    'test_dataloader.dataset.pipeline.1.scale=(128,96)',
]
COCO_1X = ['train_dataloader.dataset.pipeline.2.scale=(128,96)', *COCO]
COCO_3X = [
    'train_dataloader.dataset.pipeline.3.transforms.0.0.scales=[(128,96)]',
    'train_dataloader.dataset.pipeline.3.transforms.1.0.scales=[(128,96)]',
    'train_dataloader.dataset.pipeline.3.transforms.1.1.crop_size=(64,96)',
    'train_dataloader.dataset.pipeline.3.transforms.1.2.scales=[(128,96)]',
    *COCO,
]
# Untrained models are sure of nothing: what they find counts, too.
MASK_RCNN = [
    'model.roi_head.bbox_head.fc_out_channels=16',
    'model.train_cfg.rcnn.sampler.num=16',
    'model.test_cfg.rpn.max_per_img=10',
    'model.test_cfg.rcnn.max_per_img=5',
    'model.test_cfg.rcnn.score_thr=0',
    f'model.neck.in_channels={DIMS}',
]
RETINANET = [
    'model.test_cfg.nms_pre=10',
    'model.test_cfg.score_thr=0',
    f'model.neck.in_channels={DIMS[1:]}',
]
ADE20K = [
    'model.backbone.img_size=(96,128)',
    'model.data_preprocessor.size=(96,128)',
    'train_dataloader.dataset.pipeline.2.scale=(128,96)',
    'train_dataloader.dataset.pipeline.3.crop_size=(96,128)',
    'test_dataloader.dataset.pipeline.1.scale=(128,96)',
    'train_cfg.max_iters=3',
    'default_hooks.checkpoint.interval=3',
]
SEMANTIC_FPN = [f'model.neck.in_channels={DIMS}']
UPERNET = [
    f'model.decode_head.in_channels={DIMS}',
    'model.decode_head.channels=16',
    'model.auxiliary_head.in_channels=16',
    'model.auxiliary_head.channels=16',
]

CASES = {
    'dfformer/dfformer-s18_8xb128_in1k': [*DFFORMER, *IN1K_DFFORMER],
    'dfformer/mask-rcnn_dfformer-s18_fpn_1x_coco': [
        *DFFORMER,
        *COCO_1X,
        *MASK_RCNN,
    ],
    'dfformer/dfformer-s18_upernet_8xb2-160k_ade20k-512x512': [
        *DFFORMER,
        *ADE20K,
        *UPERNET,
    ],
    'cdfformer/cdfformer-s18_8xb128_in1k': [*DFFORMER, *IN1K_DFFORMER],
    'cdfformer/retinanet_cdfformer-s18_fpn_1x_coco': [
        *DFFORMER,
        *COCO_1X,
        *RETINANET,
    ],
    'cdfformer/mask-rcnn_cdfformer-s18_fpn_amp-ms-crop-3x_coco': [
        *DFFORMER,
        *COCO_3X,
        *MASK_RCNN,
    ],
    'cdfformer/cdfformer-s18_fpn_8xb4-40k_ade20k-512x512': [
        *DFFORMER,
        *ADE20K,
        *SEMANTIC_FPN,
    ],
    'gfnet/gfnet-xs_8xb128_in1k': [*GFNET, *IN1K_GFNET],
    'gfnet/gfnet-h-ti_8xb128_in1k': [*GFNET_H, *IN1K_GFNET],
    'gfnet/mask-rcnn_gfnet-h-ti_fpn_1x_coco': [
        *GFNET_H,
        *COCO_1X,
        *MASK_RCNN,
    ],
    'gfnet/gfnet-h-ti_fpn_8xb4-40k_ade20k-512x512': [
        *GFNET_H,
        *ADE20K,
        *SEMANTIC_FPN,
    ],
}

# Tested with test-time augmentation, one of each toolbox.
TTA = {
    'cdfformer/cdfformer-s18_8xb128_in1k',
    'cdfformer/retinanet_cdfformer-s18_fpn_1x_coco',
    'cdfformer/cdfformer-s18_fpn_8xb4-40k_ade20k-512x512',
}
METRICS = {
    'in1k': {'accuracy/top1', 'accuracy/top5'},
    'coco': {'coco/bbox_mAP'},
    'ade20k-512x512': {'mIoU', 'mAcc'},
}


@pytest.mark.parametrize('config', CASES)
def test_recipe(config, data_layouts, tmp_path, call_tool):
    path = CONFIGS / f'{config}.py'
    common = [path, '--work-dir', tmp_path, '--cfg-options', *CASES[config]]
    call_tool(
        'train.py',
        *common,
        '--no-validate',
        '--auto-scale-lr',
        cwd=data_layouts,
    )
    name = (tmp_path / 'last_checkpoint').read_text()
    checkpoint = torch.load(name, weights_only=False)
    (log,) = tmp_path.rglob('scalars.json')
    steps = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(steps) == checkpoint['meta']['iter'] >= 2
    assert all(math.isfinite(step['loss']) for step in steps)
    # Every parameter has got a gradient: several processes would need it.
    optimizer = checkpoint['optimizer']
    groups = optimizer['param_groups']
    assert len(optimizer['state']) == sum(len(g['params']) for g in groups)

    metrics = tmp_path / 'metrics.json'
    call_tool(
        'test.py',
        path,
        name,
        '--work-dir',
        tmp_path,
        '--out',
        metrics,
        *(['--tta'] if config in TTA else []),
        '--cfg-options',
        *CASES[config],
        cwd=data_layouts,
    )
    assert METRICS[config.rpartition('_')[2]] <= set(load(str(metrics)))
