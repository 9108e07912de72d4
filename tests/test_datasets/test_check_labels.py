# Copyright (c) mmfft authors. All rights reserved.
"""Data that load without an error, and train to a wrong number."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from mmfft.datasets.check import check_dataset, show_problems

BOX = dict(iscrowd=0, area=80.0, bbox=[2, 3, 10, 8])
POLYGON = [[2, 3, 12, 3, 12, 11]]


def loader(**dataset):
    return dict(dataset=dataset)


class Coco:
    """Two classes on three images a split; ``files`` may be spoilt."""

    def __init__(self):
        self.files = {}
        for split in ('train', 'val'):
            for i in range(1, 4):
                write_image(f'{split}/{i}.png')
            self.files[split] = dict(
                images=[
                    dict(id=i, file_name=f'{i}.png', width=40, height=30)
                    for i in range(1, 4)
                ],
                annotations=[
                    dict(
                        BOX,
                        id=i,
                        image_id=i,
                        category_id=1 + i % 2,
                        segmentation=POLYGON,
                    )
                    for i in range(1, 4)
                ],
                categories=[dict(id=1, name='a'), dict(id=2, name='b')],
            )
        self.cfg = Config(
            dict(
                default_scope='mmdet',
                model=dict(bbox_head=dict(num_classes=2)),
                train_dataloader=self._loader('train', filter_cfg={}),
                val_dataloader=self._loader('val', test_mode=True),
                val_evaluator=dict(type='CocoMetric', ann_file='val.json'),
            )
        )

    def _loader(self, split, **options):
        return loader(
            type='CocoDataset',
            ann_file=f'{split}.json',
            data_prefix=dict(img=f'{split}/'),
            metainfo=dict(classes=('a', 'b')),
            pipeline=[dict(type='LoadImageFromFile')],
            **options,
        )

    @property
    def train(self):
        return self.files['train']

    @property
    def val(self):
        return self.files['val']

    def check(self):
        for split, truth in self.files.items():
            with open(f'{split}.json', 'w') as file:
                json.dump(truth, file)
        return check_dataset(self.cfg)


def write_image(path, values=None):
    if values is None:
        values = np.random.default_rng(0).integers(0, 255, (30, 40, 3))
    values = np.asarray(values, np.uint8)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


@pytest.fixture
def coco(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Coco()


def the(problems, kind):
    """The only problem of a kind."""
    (problem,) = [p for p in problems if p.kind == kind]
    return problem


def test_good_files_and_their_table(coco, capsys):
    images, problems = coco.check()
    assert problems == [] and images.notes == []
    assert images == {'train': 3, 'val': 3} and images.used == images
    assert images.classes['train'] == dict(a=1, b=2)
    show_problems(images, problems)
    assert 'boxes of each class' in capsys.readouterr().out


# ------------------------------------------------- what the metric stumbles on


@pytest.mark.parametrize(
    ('key', 'metric', 'level'),
    [
        ('iscrowd', 'bbox', 'fatal'),
        ('segmentation', 'segm', 'fatal'),
        ('segmentation', 'bbox', None),
    ],
)
def test_keys_that_the_metric_needs(key, metric, level, coco):
    for box in coco.val['annotations']:
        del box[key]
    coco.cfg.val_evaluator.metric = metric
    _, problems = coco.check()
    if level is None:
        assert problems == []
        return
    problem = the(problems, 'no metric')
    assert problem.level == level and repr(key) in problem.what
    assert problem.where == 'val.json' and key in problem.fix


def test_ids_of_annotations(coco):
    coco.val['annotations'][0]['id'] = 0
    coco.train['annotations'][0]['id'] = 0  # only the metric minds
    problem = the(coco.check()[1], 'wrong metric')
    assert 'id 0' in problem.what and problem.split == 'val'
    coco.val['annotations'][0]['id'] = 2
    problem = the(coco.check()[1], 'ids twice')
    assert problem.level == 'fatal' and problem.where == 'val.json'


def test_images_twice(coco):
    coco.train['images'][1]['id'] = 1
    assert 'different files' in the(coco.check()[1], 'ids twice').what
    coco.train['images'][1].update(id=2, file_name='1.png')
    assert "'1.png'" in the(coco.check()[1], 'files twice').what


def test_categories_twice(coco):
    coco.train['categories'].insert(0, dict(id=9, name='a'))
    problem = the(coco.check()[1], 'categories twice')
    assert problem.level == 'fatal' and "'a'" in problem.what
    # At the end it shifts nothing.
    coco.train['categories'].append(coco.train['categories'].pop(0))
    problem = the(coco.check()[1], 'categories twice')
    assert problem.level == 'problem'


@pytest.mark.parametrize(
    ('part', 'key'),
    [
        ('images', 'width'),
        ('images', 'file_name'),
        ('annotations', 'area'),
        ('annotations', 'bbox'),
        ('categories', 'name'),
    ],
)
def test_entries_that_lack_something(part, key, coco):
    del coco.train[part][0][key]
    problem = the(coco.check()[1], 'broken annotations')
    assert repr(key) in problem.what and problem.level == 'fatal'
    assert f'1 of {len(coco.train[part])}' in problem.what


def test_image_ids_of_another_type(coco):
    for image in coco.train['images']:
        image['id'] = str(image['id'])
    what = the(coco.check()[1], 'broken annotations').what
    assert "image_id is 1, ids of images are '1'" in what


def test_the_evaluator_has_other_images(coco):
    coco.cfg.val_dataloader.dataset.indices = 1
    images, problems = coco.check()
    assert images['val'] == 1
    assert '2 images as missed' in the(problems, 'wrong metric').what
    coco.cfg.val_dataloader.dataset.indices = None
    coco.cfg.val_evaluator.ann_file = 'train.json'
    for image in coco.train['images']:
        image['id'] += 100
    for box in coco.train['annotations']:
        box['image_id'] += 100
    problem = the(coco.check()[1], 'no metric')
    assert problem.level == 'fatal' and 'AssertionError' in problem.what


# --------------------------------------------------- what the class would drop


def test_normalized_boxes(coco):
    for box in coco.train['annotations']:
        box['bbox'] = [0.05, 0.1, 0.25, 0.3]
    problem = the(coco.check()[1], 'normalized boxes')
    assert problem.level == 'fatal' and 'multiply' in problem.fix


def test_boxes_as_two_corners(coco):
    for box in coco.train['annotations']:
        box['bbox'] = [20, 15, 38, 28]
    _, problems = coco.check()
    assert {p.kind for p in problems} == {'box outside the image'}
    assert '[x1, y1, x2, y2]' in problems[0].fix


def test_all_boxes_are_crowds_or_flat(coco):
    for truth in coco.files.values():
        for box in truth['annotations']:
            box['iscrowd'] = 1
    _, problems = coco.check()
    assert the(problems, 'no metric').split == 'val'
    levels = {p.split: p.level for p in problems if p.kind == 'empty labels'}
    assert levels == dict(train='fatal', val='problem')
    for box in coco.train['annotations']:
        box.update(iscrowd=0, area=0)
    _, problems = coco.check()
    (problem,) = [
        p for p in problems if p.split == 'train' and p.fix[:2] == 'co'
    ]
    assert 'box without area (3)' in problem.what


def test_metainfo_is_missing(coco):
    for split in ('train', 'val'):
        del coco.cfg[f'{split}_dataloader'].dataset['metainfo']
    _, problems = coco.check()
    problem = [p for p in problems if p.kind == 'other classes'][0]
    assert '3 of 3 boxes are dropped' in problem.what
    assert "metainfo=dict(classes=('a', 'b'))" in problem.fix
    assert problem.level == 'fatal'
    # Only in training: the other splits are not compared with nothing.
    coco.cfg.val_dataloader.dataset.metainfo = dict(classes=('a', 'b'))
    assert {p.split for p in coco.check()[1]} == {'train'}


def test_classes_that_were_chosen(coco):
    """Fewer than the file has may be intended."""
    coco.cfg.model.bbox_head.num_classes = 1
    for split in ('train', 'val'):
        dataset = coco.cfg[f'{split}_dataloader'].dataset
        dataset.metainfo = dict(classes=('a',))
    images, problems = coco.check()
    assert problems == []
    assert "2 of 3 boxes are dropped: 'b'" in images.notes[0].what


def test_what_the_filter_leaves_out(coco):
    coco.train['annotations'] = coco.train['annotations'][:1]
    coco.cfg.train_dataloader.dataset.filter_cfg = dict(filter_empty_gt=True)
    images, problems = coco.check()
    assert (images['train'], images.used['train']) == (3, 1)
    (note,) = [n for n in images.notes if n.kind == 'images left out']
    assert '2 of 3 images' in note.what
    assert the(problems, 'empty class').what == "class 'a' has no box"
    coco.cfg.train_dataloader.dataset.filter_cfg = dict(min_size=100)
    assert the(coco.check()[1], 'no image left').level == 'fatal'


def test_a_part_without_boxes_beside_another(coco):
    """Images of background may come as a data set of their own."""
    coco.files['none'] = dict(coco.train, annotations=[])
    dataset = coco.cfg.train_dataloader.dataset
    none = Config(dataset.to_dict())._cfg_dict
    none.ann_file = 'none.json'
    coco.cfg.train_dataloader = loader(
        type='RepeatDataset',
        times=2,
        dataset=dict(type='ConcatDataset', datasets=[dataset, none]),
    )
    images, problems = coco.check()
    assert problems == [] and images['train[1]'] == 3


# ------------------------------------------------------ classes of the splits


def test_files_with_another_order_of_categories(coco):
    coco.val['categories'].reverse()
    _, problems = coco.check()
    fatal = [p for p in problems if p.level == 'fatal']
    assert {p.kind for p in fatal} == {'other classes'}
    said = ' '.join(p.what for p in fatal)
    assert "label 0 is 'b' here, and 'a' there" in said
    assert 'predictions count for another class' in said
    # The same wrong order in both: the names are wrong, the numbers are not.
    coco.train['categories'].reverse()
    _, problems = coco.check()
    assert {p.level for p in problems} == {'problem'}
    assert "classes=('b', 'a')" in problems[0].fix


@pytest.fixture
def folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for split in ('train', 'val'):
        for name in 'abc':
            write_image(f'{split}/{name}/1.png')

    def dataset(split):
        pipeline = [dict(type='LoadImageFromFile')]
        return loader(type='CustomDataset', data_root=split, pipeline=pipeline)

    return Config(
        dict(
            default_scope='mmpretrain',
            model=dict(head=dict(num_classes=3)),
            train_dataloader=dataset('train'),
            val_dataloader=dataset('val'),
        )
    )


def test_a_folder_is_missing_in_validation(folders, tmp_path):
    shutil.rmtree(tmp_path / 'val' / 'a')
    problem = the(check_dataset(folders)[1], 'other classes')
    assert "label 0 is 'b' here, and 'a' there" in problem.what
    assert problem.level == 'fatal' and "empty folder for each of 'a'" in (
        problem.fix
    )
    (tmp_path / 'val' / 'a').mkdir()
    images, problems = check_dataset(folders)
    assert problems == []
    assert "no image: 'a'" in images.notes[0].what
    # The last one shifts nothing.
    shutil.rmtree(tmp_path / 'val' / 'c')
    images, problems = check_dataset(folders)
    assert problems == [] and len(images.notes) == 2


def test_folders_that_are_no_classes(folders, tmp_path):
    (tmp_path / 'train' / '.ipynb_checkpoints').mkdir()
    _, problems = check_dataset(folders)
    assert "folders '.ipynb_checkpoints' count" in problems[0].what
    assert the(problems, 'label out of range').level == 'fatal'


def test_fewer_folders_than_classes(folders, tmp_path):
    shutil.rmtree(tmp_path / 'val' / 'a')
    folders.val_dataloader.dataset.metainfo = dict(classes=('a', 'b', 'c'))
    problem = the(check_dataset(folders)[1], 'other classes')
    assert 'folders b, c, classes a, b, c' in problem.what


def test_a_list_of_labels(folders, tmp_path):
    folders.train_dataloader.dataset.ann_file = 'list.txt'
    path = tmp_path / 'train' / 'list.txt'
    path.write_text('a/1.png 1\nb/1.png 2\nc/1.png 3\n')
    _, problems = check_dataset(folders)
    assert 'start at 1' in the(problems, 'label out of range').fix
    path.write_text('a/1.png 0\nb/1.png,1\n')
    _, problems = check_dataset(folders)
    assert "line 2 is 'b/1.png,1'" in the(problems, 'broken annotations').what


def test_a_list_beside_folders(folders, tmp_path):
    """Like ImageNet's, whose folders have other names than its classes."""
    for split in ('train', 'val'):
        dataset = folders[f'{split}_dataloader'].dataset
        dataset.metainfo = dict(classes=('first', 'second', 'third'))
    folders.val_dataloader.dataset.ann_file = 'list.txt'
    path = tmp_path / 'val' / 'list.txt'
    path.write_text('a/1.png 0\nb/1.png 1\nc/1.png 2\n')
    images, problems = check_dataset(folders)
    assert problems == images.notes == []


# -------------------------------------------------------------- label images


@pytest.fixture
def labels(tmp_path, monkeypatch):
    """A config, and a function that writes the label images."""
    monkeypatch.chdir(tmp_path)
    steps = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]

    def dataset(split):
        return loader(
            type='BaseSegDataset',
            img_suffix='.png',
            data_prefix=dict(img_path=split, seg_map_path=f'{split}_labels'),
            metainfo=dict(classes=('background', 'object')),
            pipeline=steps,
        )

    cfg = Config(
        dict(
            default_scope='mmseg',
            model=dict(decode_head=dict(num_classes=2)),
            train_dataloader=dataset('train'),
            val_dataloader=dataset('val'),
        )
    )

    def write(*values):
        for split in ('train', 'val'):
            for i in range(2):
                write_image(f'{split}/{i}.png')
                pixels = np.resize(values, (30, 40))
                write_image(f'{split}_labels/{i}.png', pixels)

    return cfg, write


def test_binary_masks(labels):
    cfg, write = labels
    write(0, 1)
    images, problems = check_dataset(cfg)
    assert problems == []
    assert images.classes['train'] == dict(background=1200, object=1200)
    write(0, 255)
    _, problems = check_dataset(cfg)
    problem = [p for p in problems if p.kind == 'one label only'][0]
    assert 'mIoU 100' in problem.what and '0 and 1' in problem.fix
    assert "'object' has no pixel" in the(problems, 'empty class').what
    for split in ('train', 'val'):
        cfg[f'{split}_dataloader'].dataset.ignore_index = 254
    _, problems = check_dataset(cfg)
    wrong = [p for p in problems if p.kind == 'label out of range']
    assert len(wrong) == 4 and '0 and 1' in wrong[0].fix


def test_labels_from_one(labels):
    cfg, write = labels
    write(1, 2)
    _, problems = check_dataset(cfg)
    wrong = [p for p in problems if p.kind == 'label out of range']
    assert len(wrong) == 4 and 'reduce_zero_label=True' in wrong[0].fix


def test_background_that_is_ignored(labels):
    cfg, write = labels
    write(0, 1)
    for split in ('train', 'val'):
        cfg[f'{split}_dataloader'].dataset.reduce_zero_label = True
    _, problems = check_dataset(cfg)
    assert any('reduce_zero_label=False' in p.fix for p in problems)


def test_label_images_of_16_bits(labels):
    cfg, write = labels
    write(0, 1)
    wide = np.resize([0, 256], (30, 40)).astype(np.uint16)
    Image.fromarray(wide).save('train_labels/0.png')
    problem = the(check_dataset(cfg)[1], 'label out of range')
    assert 'up to 256' in problem.what


def test_classes_without_names(labels):
    cfg, write = labels
    write(0, 1)
    for split in ('train', 'val'):
        del cfg[f'{split}_dataloader'].dataset['metainfo']
    _, problems = check_dataset(cfg)
    assert {p.kind for p in problems} == {'other classes'}
    assert 'metainfo=dict(classes=(...)) with 2 names' in problems[0].fix
