# Copyright (c) mmfft authors. All rights reserved.
import pytest
from mmengine.config import Config

from mmfft.engine.class_names import class_names
from mmfft.errors import ConfigError

PALETTE = [[1, 2, 3], (4, 5, 6)]


def config(count=2, **metainfo):
    leaf = dict(type='CocoDataset', metainfo=metainfo)
    return Config(
        dict(
            default_scope='mmdet',
            model=dict(roi_head=[dict(bbox_head=dict(num_classes=count))]),
            test_dataloader=dict(dataset=dict(dataset=leaf)),
        )
    )


@pytest.mark.parametrize('meta', [
    dict(dataset_meta=dict(classes=('a', 'b'), palette=PALETTE)),
    dict(dataset_meta=dict(CLASSES=['a', 'b'], PALETTE=PALETTE)),
    dict(CLASSES=['a', 'b'], PALETTE=PALETTE),
])  # fmt: skip
def test_the_checkpoint_tells_them(meta):
    names, palette = class_names(config(classes=('x', 'y')), meta)
    assert names == ('a', 'b')
    assert palette == ((1, 2, 3), (4, 5, 6))


@pytest.mark.parametrize('palette', ['random', None, PALETTE[:1]])
def test_a_palette_that_is_none(palette):
    meta = dict(dataset_meta=dict(classes=['a', 'b'], palette=palette))
    assert class_names(config(), meta) == (('a', 'b'), None)


def test_else_the_data_set_does():
    cfg = config(classes=('x', 'y'), palette=PALETTE)
    assert class_names(cfg, {}) == (('x', 'y'), ((1, 2, 3), (4, 5, 6)))
    names, palette = class_names(config(80), {})
    assert names[:2] == ('person', 'bicycle') and len(palette) == 80


def test_else_they_are_numbers():
    # COCO's eighty are not the names of two classes.
    assert class_names(config(), {}) == (('0', '1'), None)
    assert class_names(config(2, classes='names.txt'), {})[0] == ('0', '1')
    cfg = config()
    cfg.model = dict(type='Model')
    cfg.test_dataloader.dataset = dict(type='BaseSegDataset')
    with pytest.raises(ConfigError, match='has num_classes'):
        class_names(cfg, {})
    cfg.test_dataloader = None
    with pytest.raises(ConfigError, match='has num_classes'):
        class_names(cfg, {})
