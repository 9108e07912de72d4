# Copyright (c) mmfft authors. All rights reserved.
import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmfft.errors import ConfigError
from mmfft.openmmlab.test_pipeline import (
    image_reader,
    image_steps,
    loading_step,
    loads_bgr,
)


def config(*pipeline):
    inner = dict(type='CocoDataset', pipeline=list(pipeline))
    dataset = dict(type='RepeatDataset', dataset=inner)
    return Config(
        dict(default_scope='mmdet', test_dataloader=dict(dataset=dataset))
    )


LOAD = dict(type='LoadImageFromFile', color_type='grayscale')
RESIZE = dict(type='Resize', scale=(8, 8))


def test_labels_and_other_disks_are_left_out():
    cfg = config(
        dict(**LOAD, backend_args=dict(backend='petrel')),
        RESIZE,
        dict(type='LoadAnnotations', with_bbox=True),
        dict(type='mmdet.PackDetInputs'),
    )
    steps = [LOAD, RESIZE, dict(type='mmdet.PackDetInputs')]
    assert image_steps(cfg) == steps
    assert loading_step(cfg) == LOAD


def test_what_reads_the_file_may_be_derived():
    derived = dict(type='mmdet.LoadMultiChannelImageFromFiles')
    with pytest.raises(ConfigError, match='must have a step.*got .*Resize'):
        loading_step(config(derived, RESIZE))
    derived = dict(type='mmdet.LoadImageFromNDArray')
    assert loading_step(config(RESIZE, derived)) == derived


def test_no_test():
    with pytest.raises(ConfigError, match='test_dataloader'):
        image_steps(Config(dict(default_scope='mmdet')))


def test_an_image_is_read_by_the_steps_up_to_its_loading(tmp_path):
    init_default_scope('mmdet')
    path = str(tmp_path / 'image.png')
    cv2.imwrite(path, np.full((4, 6), 7000, np.uint16))
    load = dict(type='LoadImageFromFile', color_type='unchanged')
    image = image_reader([load, RESIZE])(path)
    assert image.shape == (4, 6) and (image == 7000).all()
    with pytest.raises(ConfigError, match='image.png.*no step.*RandomFlip'):
        image_reader([dict(type='mmcv.RandomFlip', prob=0.0)])(path)


def test_only_tifffile_leaves_the_order_of_the_bands():
    assert loads_bgr([LOAD, RESIZE])
    assert not loads_bgr([dict(LOAD, imdecode_backend='tifffile'), RESIZE])
