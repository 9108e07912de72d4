# Copyright (c) mmfft authors. All rights reserved.
import pytest
from mmcv.transforms import LoadAnnotations, RandomFlip
from mmengine.config import Config
from mmengine.config.lazy import LazyObject
from mmengine.evaluator import DumpResults
from mmengine.registry import METRICS, TRANSFORMS
from mmseg.datasets.transforms import LoadAnnotations as SegAnnotations

from mmfft.errors import ConfigError
from mmfft.openmmlab.scopes import (
    choose_by_scope,
    class_of,
    is_subclass,
    leaf_datasets,
    scoped,
    toolbox,
)


@pytest.mark.parametrize('scope', ['mmseg', None])
@pytest.mark.parametrize(
    'kind',
    [
        'mmseg.LoadAnnotations',
        'mmseg.datasets.LoadAnnotations',
        'mmseg.datasets.transforms.loading.LoadAnnotations',
        SegAnnotations,
        LazyObject('mmseg.datasets', 'LoadAnnotations'),
    ],
)
def test_a_class_in_each_form(scope, kind):
    cfg = Config(dict(default_scope=scope))
    for form in (kind, dict(type=kind)):
        assert class_of(TRANSFORMS, form, cfg) is SegAnnotations


def test_a_bare_name_means_the_class_of_the_scope():
    cfg = Config(dict(default_scope='mmseg'))
    cls = class_of(TRANSFORMS, 'LoadAnnotations', cfg)
    assert cls is SegAnnotations and is_subclass(cls, LoadAnnotations)
    cfg.default_scope = None
    assert class_of(TRANSFORMS, 'LoadAnnotations', cfg) is LoadAnnotations
    assert class_of(TRANSFORMS, 'Nothing', cfg) is None
    assert not is_subclass(None, LoadAnnotations)


def test_the_toolbox_of_a_config():
    assert toolbox(Config(dict(default_scope='mmdet'))) == 'mmdet'
    assert toolbox(Config()) is None
    heads = [dict(type='mmfft.X'), dict(type='mmseg.models.FPNHead')]
    assert toolbox(Config(dict(model=dict(heads=heads)))) == 'mmseg'
    loader = dict(dataset=dict(datasets=[dict(type=SegAnnotations)]))
    cfg = Config(dict(default_scope=None, test_dataloader=loader))
    assert toolbox(cfg) == 'mmseg'
    assert choose_by_scope(cfg, dict(mmseg=1)) == 1
    with pytest.raises(ConfigError, match="default_scope='mmseg'"):
        choose_by_scope(cfg, dict(mmdet=1))


def test_names_for_a_config_without_a_scope():
    det = Config(dict(model=dict(type='mmdet.RetinaNet')))
    assert scoped(det, METRICS, 'DumpDetResults') == 'mmdet.DumpDetResults'
    found = class_of(METRICS, scoped(det, METRICS, 'DumpResults'), det)
    assert found is DumpResults
    flip = class_of(TRANSFORMS, scoped(det, TRANSFORMS, 'RandomFlip'), det)
    assert is_subclass(flip, RandomFlip) and flip is not RandomFlip
    det.default_scope = 'mmdet'
    assert scoped(det, METRICS, 'DumpDetResults') == 'DumpDetResults'


@pytest.mark.parametrize(
    'wrapper',
    [
        'ConcatDataset',
        'RepeatDataset',
        'ClassBalancedDataset',
        'mmdet.MultiImageMixDataset',
        'mmseg.MultiImageMixDataset',
        'mmpretrain.KFoldDataset',
    ],
)
def test_data_sets_in_wrappers(wrapper):
    leaves = [dict(type='A'), dict(type='B')]
    many = wrapper == 'ConcatDataset'
    inner = dict(datasets=leaves) if many else dict(dataset=leaves[0])
    outer = dict(type='RepeatDataset', dataset=dict(type=wrapper, **inner))
    found = list(leaf_datasets(outer))
    assert found == (leaves if many else leaves[:1])
    assert found[0] is leaves[0]
