# Copyright (c) mmfft authors. All rights reserved.
"""What the configs in configs/custom derive from the three lines."""

import json

import pytest
from config_files import ROOT
from mmengine.config import Config

from mmfft.datasets.own_data import (
    class_folders,
    coco,
    label_images,
)
from mmfft.engine import load_config
from mmfft.errors import ConfigError

CUSTOM = ROOT / 'configs' / 'custom'


def write_coco(file, picture='a.png', names=('cat', 'dog')):
    file.parent.mkdir(parents=True, exist_ok=True)
    categories = [dict(id=i, name=name) for i, name in enumerate(names, 3)]
    images = [dict(id=1, file_name=picture, width=8, height=8)]
    content = dict(images=images, annotations=[], categories=categories)
    file.write_text(json.dumps(content))


def touch(file):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()


@pytest.mark.parametrize(
    'ann_file, pictures',
    [
        ('{}.json', ''),
        ('annotations/{}.json', '{}'),
        ('annotations/instances_{}.json', 'images/{}'),
        ('annotations/instances_{}2017.json', '{}2017'),
        ('{}.json', 'images'),
        ('{}.json', 'JPEGImages'),
    ],
)
def test_coco_is_found_in_its_customary_layouts(ann_file, pictures, tmp_path):
    for split in ('train', 'val'):
        write_coco(tmp_path / ann_file.format(split))
        touch(tmp_path / pictures.format(split) / 'a.png')
    data = coco(str(tmp_path), None, 64)
    for split in ('train', 'val'):
        assert data[split] == dict(
            ann_file=ann_file.format(split),
            data_prefix=dict(img=pictures.format(split)),
        )
    assert data['metainfo']['classes'] == ('cat', 'dog')
    assert (data['num_classes'], data['img_size']) == (2, (64, 64))


def test_names_that_are_given_come_first(tmp_path):
    write_coco(tmp_path / 'train.json')
    data = coco(str(tmp_path), ['dog'], (4, 6))
    assert data['metainfo']['classes'] == ('dog',)
    assert data['img_size'] == (4, 6)


def test_class_folders(tmp_path):
    for name in ('train/b', 'train/a', 'val/a'):
        touch(tmp_path / name / '0.jpg')
    data = class_folders(str(tmp_path), None, 8)
    assert data['metainfo']['classes'] == ('a', 'b')
    assert data['val'] == dict(ann_file='', data_prefix='val')


def test_class_folders_with_lists(tmp_path):
    for name in ('b', 'a'):
        touch(tmp_path / name / '0.jpg')
    for split in ('train', 'val'):
        (tmp_path / f'{split}.txt').write_text('a/0.jpg 0\n')
    data = class_folders(str(tmp_path), None, 8)
    assert data['metainfo']['classes'] == ('a', 'b')
    assert data['train'] == dict(ann_file='train.txt', data_prefix='')


def test_label_images(tmp_path):
    touch(tmp_path / 'img_dir' / 'train' / 'x.tif')
    (tmp_path / 'classes.txt').write_text('sky\n\ntree top\n')
    data = label_images(str(tmp_path), None, 8)
    assert data['metainfo']['classes'] == ('sky', 'tree top')
    assert data['img_suffix'] == '.tif'
    touch(tmp_path / 'img_dir' / 'val' / 'y.PNG')
    with pytest.raises(ConfigError, match=r'\.PNG and \.tif'):
        label_images(str(tmp_path), None, 8)


def test_label_images_in_folders_that_are_links(tmp_path):
    (tmp_path / 'elsewhere').mkdir()
    (tmp_path / 'elsewhere' / 'a.tif').touch()
    (tmp_path / 'img_dir').mkdir()
    (tmp_path / 'img_dir' / 'train').symlink_to(tmp_path / 'elsewhere')
    data = label_images(str(tmp_path), ['ground', 'water'], 64)
    assert data['img_suffix'] == '.tif'


@pytest.mark.parametrize('find', [coco, class_folders, label_images])
def test_no_data_yet(find, tmp_path):
    """A config can be read before its data are there."""
    data = find(str(tmp_path / 'none'), None, 8)
    assert data['num_classes'] == (2 if find is label_images else 1)


@pytest.mark.parametrize(
    'find, source',
    [
        (coco, 'train.json'),
        (class_folders, 'train'),
        (label_images, 'img_dir'),
    ],
)
def test_data_without_names(find, source, tmp_path):
    if find is coco:
        write_coco(tmp_path / source, names=())
    else:
        (tmp_path / source).mkdir()
    with pytest.raises(ConfigError, match='classes=None.*names no classes'):
        find(str(tmp_path), None, 8)


@pytest.mark.parametrize(
    'setting, value',
    [
        ('data_root', None),
        ('classes', ['a', 'a']),
        ('classes', []),
        ('img_size', (3,)),
        ('img_size', (0, 8)),
        ('img_size', '224'),
    ],
)
def test_settings_of_another_kind(setting, value):
    settings = dict(data_root='x', classes=None, img_size=8)
    with pytest.raises(ConfigError, match=f'^{setting}='):
        coco(**{**settings, setting: value})


@pytest.mark.parametrize(
    'text', ['{', '[]', '{"images": [{}], "categories": []}', '{"a": 1}']
)
def test_a_file_that_is_not_coco(text, tmp_path):
    (tmp_path / 'train.json').write_text(text)
    with pytest.raises(ConfigError, match="not in COCO's form"):
        coco(str(tmp_path), None, 8)


def test_classes_have_different_colours(tmp_path):
    write_coco(tmp_path / 'train.json', names=map(str, range(100)))
    colours = coco(str(tmp_path), None, 8)['metainfo']['palette']
    assert len(set(colours)) == 100
    assert all(0 <= value <= 255 for colour in colours for value in colour)


# ----------------------------------------------------- settings of a command


def test_a_config_that_inherits_says_its_own(tmp_path):
    write_coco(tmp_path / 'a' / 'train.json')
    file = tmp_path / 'mine.py'
    file.write_text(
        "_base_ = 'mmfft::custom/det_s18.py'\n"
        f"data_root = '{tmp_path}/a'\nimg_size = 96\n"
    )
    cfg = load_config(str(file))
    assert cfg.train_dataloader.dataset.data_root == f'{tmp_path}/a'
    assert cfg.model.bbox_head.num_classes == 2
    assert cfg.model.backbone.img_size == (96, 96)
    assert cfg.model.backbone.arch == 's18'
    # A command line comes first.
    cfg = load_config(str(file), cfg_options=dict(img_size=[64, 32]))
    assert cfg.model.backbone.img_size == (64, 32)
    assert cfg.train_dataloader.dataset.data_root == f'{tmp_path}/a'


@pytest.mark.parametrize('name', ['det', 'det_s18', 'ins', 'ins_s18'])
def test_all_of_a_config_follows(name, tmp_path):
    for split in ('train', 'val'):
        write_coco(tmp_path / f'{split}.json')
    options = dict(data_root=str(tmp_path), img_size=[96, 128])
    cfg = load_config(str(CUSTOM / f'{name}.py'), cfg_options=options)
    for split in ('train', 'val', 'test'):
        dataset = cfg[f'{split}_dataloader'].dataset
        assert dataset.data_root == str(tmp_path)
        assert dataset.metainfo.classes == ('cat', 'dog')
    assert cfg.val_evaluator.ann_file == f'{tmp_path}/val.json'
    assert cfg.test_evaluator == cfg.val_evaluator
    assert tuple(cfg.model.backbone.img_size) == (96, 128)
    assert tuple(cfg.train_pipeline[2].scale) == (128, 96)
    assert "'num_classes': 2" in str(cfg.model)
    assert "'num_classes': 80" not in str(cfg.model)
    # What the run dumps is whole, and read again the same.
    cfg.dump(tmp_path / 'dumped.py')
    again = Config.fromfile(tmp_path / 'dumped.py')
    assert again.model == cfg.model
    assert again.train_dataloader == cfg.train_dataloader


def test_folders_and_label_images_follow(tmp_path):
    for name in ('train/b', 'train/a', 'val/a', 'img_dir/train'):
        touch(tmp_path / name / '0.jpg')
    options = dict(data_root=str(tmp_path), img_size=48)
    cfg = load_config(str(CUSTOM / 'cls.py'), cfg_options=options)
    assert cfg.model.head.num_classes == cfg.data_preprocessor.num_classes == 2
    options['classes'] = ['sky', 'sea', 'void']
    cfg = load_config(str(CUSTOM / 'seg_s18.py'), cfg_options=options)
    assert cfg.model.decode_head.num_classes == 3
    assert cfg.model.data_preprocessor.size == (48, 48)
    assert cfg.train_dataloader.dataset.metainfo.classes == (
        'sky',
        'sea',
        'void',
    )


def test_one_class_from_a_command_line():
    cfg = load_config(str(CUSTOM / 'det.py'), cfg_options=dict(classes='cell'))
    assert cfg.data.metainfo.classes == ('cell',)


def test_a_setting_that_nothing_would_follow(tmp_path):
    """A result on data other than asked for would be worse than none."""
    write_coco(tmp_path / 'train.json')
    options = dict(data_root=str(tmp_path))
    cfg = load_config(str(CUSTOM / 'det.py'), cfg_options=options)
    dumped = str(tmp_path / 'dumped.py')
    cfg.dump(dumped)
    load_config(dumped, cfg_options=options)  # it says the same
    with pytest.raises(ConfigError, match='data_root=other.*would follow'):
        load_config(dumped, cfg_options=dict(data_root='other'))
