# Copyright (c) mmfft authors. All rights reserved.
import pytest
from mmengine.config import Config

from mmfft.datasets.paths import check_data
from mmfft.errors import ConfigError


def loader(**dataset):
    return dict(dataset=dataset)


def test_check_data_names_the_first_missing_path(tmp_path):
    root = tmp_path / 'data'
    det = dict(
        data_root=str(root),
        ann_file='train.json',
        data_prefix=dict(img='images'),
    )
    cfg = Config(
        dict(
            train_dataloader=loader(
                type='RepeatDataset', dataset=dict(type='Coco', **det)
            ),
            data_preparation='python make_it.py',
        )
    )
    with pytest.raises(ConfigError, match='data_root .*data.*make_it.py'):
        check_data(cfg, 'train')
    root.mkdir()
    with pytest.raises(ConfigError, match='ann_file .*train.json'):
        check_data(cfg, 'train', 'val')
    (root / 'train.json').touch()
    with pytest.raises(ConfigError, match='data_prefix .*images'):
        check_data(cfg, 'train')
    (root / 'images').mkdir()
    check_data(cfg, 'train', 'val', 'test')


def test_check_data_looks_into_concatenations_and_leaves_urls(tmp_path):
    cfg = Config(
        dict(
            test_dataloader=loader(
                type='ConcatDataset',
                datasets=[
                    dict(data_root='s3://bucket', ann_file='s3://a.json'),
                    dict(data_root=str(tmp_path), data_prefix='crops'),
                ],
            )
        )
    )
    with pytest.raises(ConfigError, match='data_prefix of test_.*crops'):
        check_data(cfg, 'test')
