# Copyright (c) mmfft authors. All rights reserved.
import pytest
from mmengine.config import Config

from mmfft.errors import ConfigError
from mmfft.openmmlab.test_pipeline import image_steps, loading_step


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
