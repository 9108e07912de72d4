# Copyright (c) mmfft authors. All rights reserved.
"""The toolboxes' inferencers take our configs as they are."""

import numpy as np
import pytest
from config_files import load
from mmengine.registry import init_default_scope


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(
        0, 256, (60, 90, 3), dtype=np.uint8
    )


def at_test_scale(config, scale):
    """The config, testing smaller images than it says."""
    cfg = load(config)
    pipeline = cfg.test_dataloader.dataset.pipeline
    (resize,) = [step for step in pipeline if step.type == 'Resize']
    resize.scale = scale
    return cfg


def test_classification(image):
    from mmpretrain import ImageClassificationInferencer

    import mmfft  # noqa: F401, it tells mmpretrain our names

    # mmpretrain's does not set its scope itself, and other tests left theirs.
    init_default_scope('mmpretrain')
    # By the name of the model.
    infer = ImageClassificationInferencer(
        'cdfformer-s18_3rdparty_in1k', pretrained=False, device='cpu'
    )
    (result,) = infer(image)
    assert result['pred_scores'].shape == (1000,)
    assert result['pred_scores'].sum() == pytest.approx(1, abs=1e-4)
    assert isinstance(result['pred_class'], str)


def test_detection(image):
    from mmdet.apis import DetInferencer

    cfg = at_test_scale(
        'configs/gfnet/mask-rcnn_gfnet-h-ti_fpn_1x_coco.py', (160, 96)
    )
    # Untrained, nothing passes the usual threshold.
    cfg.model.test_cfg.rcnn.score_thr = 0.0
    infer = DetInferencer(cfg, device='cpu', show_progress=False)
    (result,) = infer(image)['predictions']
    assert len(result['labels']) == len(result['masks']) > 0
    assert result['masks'][0]['size'] == [60, 90]
    assert np.array(result['bboxes']).max() <= 90


def test_segmentation(image):
    from mmseg.apis import MMSegInferencer

    # Its SyncBN has to be replaced on a CPU.
    cfg = at_test_scale(
        'configs/dfformer/dfformer-s18_upernet_8xb2-160k_ade20k-512x512.py',
        (160, 96),
    )
    infer = MMSegInferencer(cfg, dataset_name='ade20k', device='cpu')
    infer.show_progress = False
    labels = infer(image)['predictions']
    assert labels.shape == (60, 90)
    assert 0 <= labels.min() <= labels.max() < 150
