# Copyright (c) mmfft authors. All rights reserved.
"""The cheap part of the check, before the first step of a run."""

import json
import random
import shutil

import numpy as np
import pytest
from conftest import ROOT, small_data
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope

from mmfft.datasets.check import check_before_run
from mmfft.engine import load_config
from mmfft.errors import ConfigError

DEMO = ROOT / 'configs' / 'demo'
CLS = DEMO / 'cdfformer-nano_1xb32-6e_digit-crops.py'
DET = DEMO / 'mask-rcnn_cdfformer-nano_fpn_1xb4-3e_digit-scenes.py'
SEG = DEMO / 'cdfformer-nano_fpn_1xb2-2k_digit-scenes-192x256.py'


@pytest.fixture
def check(digit_scenes, tmp_path, monkeypatch):
    """Check a config on data that may be spoilt; returns the warnings."""
    shutil.copytree(digit_scenes, tmp_path / 'data' / 'digit_scenes')
    monkeypatch.chdir(tmp_path)

    def run(config, **options):
        said = []
        cfg = load_config(str(config), cfg_options=options)
        init_default_scope(cfg.default_scope)
        logger = MMLogger.get_instance('mmengine')
        monkeypatch.setattr(logger, 'warning', said.append)
        check_before_run(cfg, logger, 'train', 'val')
        return '\n'.join(said)

    return run


@pytest.mark.parametrize('config', [CLS, DET, SEG])
def test_good_data_are_not_decoded(config, check, tmp_path):
    for picture in tmp_path.rglob('*.png'):
        picture.write_bytes(b'')
    ours, theirs = random.getstate(), np.random.get_state()
    assert 'unreadable' not in check(config)
    assert random.getstate() == ours
    assert (np.random.get_state()[1] == theirs[1]).all()


def test_no_image_is_found(check, tmp_path):
    with pytest.raises(ConfigError) as error:
        check(SEG, **{'train_dataloader.dataset.img_suffix': '.jpg'})
    said = str(error.value)
    assert "img_suffix='.jpg'" in said and '8 files (.png: 8' in said
    assert "write img_suffix='.png'" in said
    with pytest.raises(ConfigError, match='none of the 8 files exists'):
        check(SEG, **{'train_dataloader.dataset.seg_map_suffix': '_a.png'})
    with pytest.raises(ConfigError, match='none of the 8 files exists'):
        check(DET, **{'train_dataloader.dataset.data_prefix.img': 'images'})
    with pytest.raises(ConfigError, match="extensions=\\('.png',\\)"):
        check(CLS, **{'val_dataloader.dataset.extensions': ['.webp']})
    crops = tmp_path / 'data' / 'digit_scenes' / 'crops' / 'val'
    for picture in list(crops.rglob('*.png')):
        picture.rename(crops / f'{picture.parent.name}_{picture.name}')
    for folder in [path for path in crops.iterdir() if path.is_dir()]:
        folder.rmdir()
    with pytest.raises(ConfigError, match='in a folder for each class'):
        check(CLS)


def test_some_images_are_missing(check, tmp_path):
    images = tmp_path / 'data' / 'digit_scenes' / 'scenes' / 'images'
    next((images / 'training').iterdir()).unlink()
    said = check(DET)
    assert '1 of 8 files do not exist' in said
    assert 'check_dataset.py' in said
    next((images / 'validation').iterdir()).unlink()
    with pytest.raises(ConfigError, match='1 of 4 files do not exist'):
        check(DET)


def test_annotations_that_spoil_the_run(check, tmp_path):
    annotations = tmp_path / 'data' / 'digit_scenes' / 'scenes' / 'annotations'
    path = annotations / 'instances_validation.json'
    truth = json.loads(path.read_text())
    for box in truth['annotations']:
        del box['iscrowd']
    path.write_text(json.dumps(truth))
    with pytest.raises(
        ConfigError, match="'iscrowd'.*--skip|--skip.*\n.*crowd"
    ):
        check(DET)
    path.write_text('{')
    with pytest.raises(ConfigError, match='JSONDecodeError'):
        check(DET)


@pytest.mark.parametrize(
    'options',
    [
        {'data_root': 's3://bucket/'},
        {'backend_args': dict(backend='http')},
        {'backend_args': dict(backend='petrel', path_mapping={'a': 'b'})},
        {'type': 'CIFAR10', 'split': 'train'},
        {'type': 'NotRegistered'},
    ],
)
def test_what_is_left_to_the_run(options, check):
    """Data that are elsewhere, downloaded, or of an unknown class."""
    both = {
        f'{split}_dataloader.dataset.{key}': value
        for split in ('train', 'val')
        for key, value in options.items()
    }
    assert check(CLS, **both) == ''


def test_only_the_main_process_reads(check, monkeypatch):
    module = check_before_run.__module__
    monkeypatch.setattr(f'{module}.is_main_process', lambda: False)

    def broadcast(fatal):
        fatal[0] = ['something']

    options = {'train_dataloader.dataset.img_suffix': '.jpg'}
    assert check(SEG, **options) == ''
    monkeypatch.setattr(f'{module}.broadcast_object_list', broadcast)
    with pytest.raises(SystemExit) as end:
        check(SEG, **options)
    assert end.value.code == 2


def test_the_command_line(digit_scenes, tmp_path, call_tool, capsys):
    arguments = [
        SEG,
        '--work-dir',
        tmp_path,
        '--cfg-options',
        *small_data('mmseg', digit_scenes),
        'train_cfg.max_iters=1',
        'train_cfg.val_interval=10',
        'train_dataloader.dataset.img_suffix=.jpg',
    ]
    with pytest.raises(SystemExit) as end:
        call_tool('train.py', *arguments, cwd=tmp_path)
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert "img_suffix='.jpg'" in said and '--skip-data-check' in said
    assert 'Traceback' not in said
    with pytest.raises(ValueError, match='at least one array'):
        call_tool('train.py', *arguments, '--skip-data-check', cwd=tmp_path)
