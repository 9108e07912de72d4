# Copyright (c) mmfft authors. All rights reserved.
import pytest
from mmengine.config import Config
from mmengine.fileio import BaseStorageBackend
from mmengine.fileio.backends import backends
from mmpretrain.datasets import CIFAR100

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


class Elsewhere(BaseStorageBackend):
    """A storage under another name, as petrel's ``path_mapping`` has it."""

    def __init__(self, path_mapping):
        self.path_mapping = path_mapping

    def exists(self, path):
        for here, there in self.path_mapping.items():
            path = path.replace(here, there)
        return path in ('far:/coco', 'far:/coco/train.json', 'far:/coco/img')

    get = get_text = exists


@pytest.fixture
def elsewhere(monkeypatch):
    monkeypatch.setitem(backends, 'elsewhere', Elsewhere)
    return dict(backend='elsewhere', path_mapping={'data/': 'far:/'})


@pytest.mark.parametrize('where', ['data set', 'pipeline'])
def test_the_backend_is_asked(elsewhere, where):
    dataset = dict(
        data_root='data/coco',
        ann_file='train.json',
        data_prefix=dict(img='img'),
        pipeline=[dict(type='LoadImageFromFile')],
    )
    owner = dataset if where == 'data set' else dataset['pipeline'][0]
    owner['backend_args'] = elsewhere
    cfg = Config(dict(train_dataloader=loader(**dataset)))
    check_data(cfg, 'train')
    cfg.train_dataloader.dataset.ann_file = 'gone.json'
    with pytest.raises(ConfigError, match="'data/coco/gone.json'"):
        check_data(cfg, 'train')


# LmdbBackend's own, if lmdb is not installed.
@pytest.mark.filterwarnings('ignore:Exception ignored in')
@pytest.mark.parametrize(
    'options',
    [
        # Backends that cannot tell, or whose client is not installed.
        dict(data_root='gone', backend_args=dict(backend='http')),
        dict(data_root='gone', backend_args=dict(backend='petrel')),
        dict(
            data_root='gone',
            data_prefix=dict(img='img.lmdb'),
            pipeline=[dict(backend_args=dict(backend='lmdb', db_path='a'))],
        ),
        dict(data_root='s3://bucket', data_prefix=dict(img='train')),
        dict(data_root='http://host/data', ann_file='a.json'),
        dict(type='CIFAR10', data_root='gone'),
        dict(type='mmpretrain.MNIST', data_prefix='gone', download=True),
        dict(type=CIFAR100, data_root='gone'),
    ],
)
def test_what_cannot_be_checked_here_is_left_to_the_run(options):
    cfg = Config(
        dict(default_scope='mmpretrain', train_dataloader=loader(**options))
    )
    check_data(cfg, 'train')


def test_what_is_not_downloaded_must_exist():
    dataset = dict(type='CIFAR10', data_root='gone', download=False)
    cfg = Config(
        dict(default_scope='mmpretrain', train_dataloader=loader(**dataset))
    )
    with pytest.raises(ConfigError, match='data_root .*gone'):
        check_data(cfg, 'train')
