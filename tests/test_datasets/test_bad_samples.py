# Copyright (c) mmfft authors. All rights reserved.
"""Each kind of bad file, through the training pipelines of the recipes."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from mmengine.dataset import Compose
from mmengine.fileio import dump, load
from mmengine.registry import DATASETS, DefaultScope, init_default_scope
from PIL import Image
from spoilt_images import BAD_OR_NOT, UNUSABLE, USABLE, write

from mmfft.datasets.bad_samples import (
    BadSampleError,
    BadSampleList,
    WatchedPipeline,
    watch,
)
from mmfft.engine import load_config

RECIPES = dict(
    cls='gfnet/gfnet-xs_8xb128_in1k.py',
    det='dfformer/mask-rcnn_dfformer-s18_fpn_1x_coco.py',
    seg='dfformer/dfformer-s18_fpn_8xb4-40k_ade20k-512x512.py',
)
IMAGES = dict(
    cls='imagenet/train',
    det='coco/train2017',
    seg='ade/ADEChallengeData2016/images/training',
)
INSTANCES = 'coco/annotations/instances_train2017.json'
# Of the scenes, and of the crops.
SIZES = dict(cls=(64, 64), det=(256, 192), seg=(256, 192))


@pytest.fixture
def data(data_layouts, tmp_path, monkeypatch):
    """A copy of the data that a test may spoil."""
    shutil.copytree(data_layouts, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path / 'data'


def training_set(task, change=lambda dataset: None):
    """Of a recipe, watched; and the list of its bad samples."""
    cfg = load_config(str(ROOT / 'configs' / RECIPES[task]))
    DefaultScope._instance_dict.clear()
    init_default_scope(cfg.default_scope)
    change(cfg.train_dataloader.dataset)
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    found = BadSampleList('found/bad_samples.jsonl')
    watch(dataset, found, 100)
    return dataset, found


def first_image(task, data):
    images = sorted((data / IMAGES[task]).rglob('*.*'))
    if task == 'det':
        # One that has boxes, or it is left out.
        truth = load(str(data / INSTANCES))
        index = truth['annotations'][0]['image_id']
        names = {i['id']: i['file_name'] for i in truth['images']}
        return data / IMAGES[task] / names[index]
    return images[0]


def index_of(dataset, path):
    return next(
        i
        for i in range(len(dataset))
        if dataset.get_data_info(i)['img_path'].endswith(path.name)
    )


def labels_of(image):
    folder = image.parents[2] / 'annotations' / 'training'
    return folder / f'{image.stem}.png'


def taken(sample):
    return sample['data_samples'].img_path


@pytest.mark.parametrize('kind', BAD_OR_NOT)
@pytest.mark.parametrize('task', RECIPES)
def test_a_file_is_used_or_named(task, kind, data):
    image = first_image(task, data)
    dataset, found = training_set(task)
    index = index_of(dataset, image)
    # Only now: mmseg lists what is in the folder.
    write(image, kind, *SIZES[task])
    samples = [dataset[index] for _ in range(3)]
    assert all(sample['inputs'].shape[0] == 3 for sample in samples)
    used = [taken(sample).endswith(image.name) for sample in samples]
    if kind in USABLE:
        assert all(used) and found.read() == {}
    else:
        assert not any(used)
        # Once, with its path.
        ((name, reason),) = found.read().items()
        assert name.endswith(str(image.relative_to(data.parent)))
        assert reason and '\n' not in reason


@pytest.mark.parametrize('size', [(1, 1), (20000, 32)])
@pytest.mark.parametrize('task', RECIPES)
def test_the_smallest_and_the_longest(task, size, data):
    image = first_image(task, data)
    width, height = size
    write(image, 'grey', width, height)
    if task == 'det':
        truth = load(str(data / INSTANCES))
        (entry,) = [i for i in truth['images'] if i['file_name'] == image.name]
        entry.update(width=width, height=height)
        box = dict(bbox=[0, 0, width, height], area=width * height)
        corners = [0, 0, width, 0, width, height, 0, height]
        for annotation in truth['annotations']:
            if annotation['image_id'] == entry['id']:
                annotation.update(box, segmentation=[corners])
        dump(truth, str(data / INSTANCES))
    if task == 'seg':
        labels = np.ones((height, width), np.uint8)
        Image.fromarray(labels).save(labels_of(image))
    dataset, found = training_set(task)
    if task == 'det' and min(size) < 32:
        # The recipe's filter_cfg leaves out what is so small.
        with pytest.raises(StopIteration):
            index_of(dataset, image)
        return
    sample = dataset[index_of(dataset, image)]
    if task == 'seg' and min(size) == 1:
        # mmseg's loader makes a line of labels of one row or column.
        assert not taken(sample).endswith(image.name)
        assert [name.endswith(image.name) for name in found.read()] == [True]
        return
    assert taken(sample).endswith(image.name) and found.read() == {}
    assert min(sample['inputs'].shape) > 0


def test_a_label_image_of_another_size(data):
    image = first_image('seg', data)
    other = np.ones((96, 128), np.uint8)
    Image.fromarray(other).save(labels_of(image))
    dataset, found = training_set('seg')
    assert not taken(dataset[index_of(dataset, image)]).endswith(image.name)
    ((name, reason),) = found.read().items()
    assert name.endswith(image.name)
    assert labels_of(image).name in reason
    assert 'has the size (96, 128), but its image has (192, 256)' in reason


@pytest.mark.parametrize('kind', ['missing', 'empty', 'truncated-png'])
def test_a_bad_label_image(kind, data):
    image = first_image('seg', data)
    write(labels_of(image), kind, *SIZES['seg'])
    dataset, found = training_set('seg')
    assert not taken(dataset[index_of(dataset, image)]).endswith(image.name)
    assert [name.endswith(image.name) for name in found.read()] == [True]


def test_a_box_of_no_area_is_left_out(data):
    """By mmdet itself, which keeps the others of the image."""
    truth = load(str(data / INSTANCES))
    first = truth['annotations'][0]
    (name,) = [
        i['file_name'] for i in truth['images'] if i['id'] == first['image_id']
    ]
    boxes = [
        a for a in truth['annotations'] if a['image_id'] == first['image_id']
    ]
    first['bbox'][2] = 0
    dump(truth, str(data / INSTANCES))
    dataset, found = training_set('det')
    sample = dataset[index_of(dataset, data / name)]
    kept = sample['data_samples'].gt_instances.bboxes
    assert len(kept) == len(boxes) - 1 and found.read() == {}


def test_the_limit_stops_with_the_list(data):
    images = sorted((data / IMAGES['seg']).iterdir())
    for image in images[:3]:
        image.write_bytes(b'')
    dataset, found = training_set('seg')
    dataset.pipeline.max_bad = 2
    for image in images[:2]:
        dataset.prepare_data(index_of(dataset, image))
    with pytest.raises(BadSampleError) as error:
        dataset.prepare_data(index_of(dataset, images[2]))
    said = str(error.value)
    assert said.startswith('more than max_bad=2 samples cannot be used:')
    assert all(said.count(image.name) == 1 for image in images[:3])


def without(name):
    def change(dataset):
        steps = [step for step in dataset.pipeline if step.type != name]
        dataset.pipeline = steps

    return change


def with_step(step):
    return lambda dataset: dataset.pipeline.insert(1, step)


def with_loader(**options):
    return lambda dataset: dataset.pipeline[0].update(options)


def with_images_in(folder):
    return lambda dataset: dataset.update(data_prefix=dict(img=folder))


def fail_by_name(data):
    # Another kind of error for each.
    kinds = [ValueError, KeyError, TypeError, IndexError, OSError]
    raise kinds[data['sample_idx'] % 5](data['img_path'])


# Mistakes of a config, and what is said about them.
MISTAKES = dict(
    no_annotations=(
        'seg',
        without('LoadAnnotations'),
        ["KeyError: 'gt_seg_map' (in RandomCrop)", ': LoadImageFromFile, Ra'],
    ),
    no_image=(
        'cls',
        without('LoadImageFromFile'),
        ["KeyError: 'img' (in RandomResizedCrop)", 'Its pipeline: Random'],
    ),
    within_another=(
        'cls',
        with_step(
            dict(
                type='RandomApply',
                transforms=[dict(type='Lighting', eigval=[1], eigvec=[[1]])],
                prob=1.0,
            )
        ),
        ['(in Lighting)', 'Its pipeline: LoadImageFromFile, RandomApply, '],
    ),
    decoder=(
        'det',
        with_loader(imdecode_backend='unknown'),
        ['ValueError: backend: unknown', '(in LoadImageFromFile)'],
    ),
    wrong_prefix=(
        'det',
        with_images_in('train2018/'),
        ['FileNotFoundError', 'train2018', 'Do data_root and data_prefix'],
    ),
)


@pytest.mark.parametrize('mistake', MISTAKES)
def test_a_mistake_of_the_config_stops_at_once(mistake, data):
    task, change, expected = MISTAKES[mistake]
    dataset, found = training_set(task, change)
    with pytest.raises(BadSampleError) as error:
        dataset[0]
    said = str(error.value)
    failed = min(10, len(dataset))
    assert said.startswith(
        f'no sample could be used, and {failed} failed in the same way, so '
        'the config is wrong and not the samples:\n'
    )
    assert all(words in said for words in expected), said
    # With their names.
    assert sum(name in said for name in found.read()) == 3


def test_colours_for_labels_stop_at_once(data):
    for path in (data / IMAGES['seg']).iterdir():
        Image.open(path).save(labels_of(path))
    dataset, _ = training_set('seg')
    with pytest.raises(BadSampleError) as error:
        dataset[0]
    said = str(error.value)
    assert 'so the config is wrong' in said and '(in LoadAnnotations)' in said
    assert 'has the shape (192, 256, 3); it must have one channel' in said


def test_all_are_bad_for_different_reasons(data):
    dataset, found = training_set('seg')
    dataset.pipeline.transforms.insert(1, fail_by_name)
    with pytest.raises(BadSampleError) as error:
        dataset[0]
    what, *lines = str(error.value).splitlines()
    assert what == f'none of the {len(dataset)} samples can be used:'
    assert len(lines) == len(dataset) == len(found.read())


def test_all_are_left_out_by_a_transform(data):
    def change(dataset):
        dataset.pipeline.insert(
            2, dict(type='FilterAnnotations', min_gt_bbox_wh=(9999, 9999))
        )
        dataset.max_refetch = 20

    dataset, found = training_set('det', change)
    with pytest.raises(BadSampleError) as error:
        dataset[0]
    said = str(error.value)
    assert said.startswith('no sample to be used after 21 draws')
    assert said.endswith('FilterAnnotations returned None (21 times)')
    assert found.read() == {}


def test_a_few_bad_ones_at_the_start_are_no_mistake(data):
    dataset, found = training_set('cls')
    bad = [dataset.get_data_info(i)['img_path'] for i in range(9)]
    for path in bad:
        Path(path).unlink()
    for i in range(9):
        assert dataset.prepare_data(i) is None
    assert dataset.prepare_data(9) is not None
    # Once a sample was used, ten more are a matter of the samples.
    more = [dataset.get_data_info(i)['img_path'] for i in range(10, 20)]
    for i, path in enumerate(more, 10):
        Path(path).unlink()
        assert dataset.prepare_data(i) is None
    assert list(found.read()) == [*bad, *more]


def test_a_later_pipeline_is_watched_too(data):
    dataset, found = training_set('seg')
    dataset[0]
    old = dataset.pipeline
    broken = Compose([without_labels for _ in range(2)])
    dataset.pipeline = broken
    with pytest.raises(BadSampleError, match='in the same way') as error:
        dataset[0]
    assert 'Its pipeline: function, function' in str(error.value)
    assert dataset.pipeline is not old


def without_labels(data):
    return dict(data, gt_seg_map=np.zeros((1, 1)), ori_shape=(2, 2))


def test_test_mode_gives_the_error_with_the_path(data):
    image = first_image('seg', data)
    image.write_bytes(b'')
    dataset, _ = training_set('seg')
    dataset.test_mode = True
    watch(dataset, BadSampleList('found/strict.jsonl'), 100)
    with pytest.raises(BadSampleError, match=image.name):
        dataset[index_of(dataset, image)]


def test_wrappers_are_looked_through(data):
    from mmengine.dataset import RepeatDataset

    one, _ = training_set('seg')
    other, _ = training_set('seg')
    both = dict(type='mmengine.ConcatDataset', datasets=[one, other])
    whole = RepeatDataset(both, 2)
    bad = BadSampleList('found/more.jsonl')
    watch(whole, bad, 7)
    watch(whole, bad, 7)
    for dataset in (one, other):
        assert isinstance(dataset.pipeline, WatchedPipeline)
        assert dataset.pipeline.bad_samples is bad
        assert not isinstance(dataset.pipeline.transforms[0], WatchedPipeline)


def test_memory_is_not_a_matter_of_the_sample(tmp_path):
    class Greedy:
        @staticmethod
        def greedy(data):
            raise MemoryError

        transforms = [greedy]

    found = BadSampleList(tmp_path / 'bad.jsonl')
    with pytest.raises(MemoryError):
        WatchedPipeline(Greedy, found, 100)(dict(img_path='a.png'))
    assert found.read() == {}


def test_names_are_read_back_as_they_were(tmp_path):
    found = BadSampleList(tmp_path / 'bad.jsonl')
    names = ['a b.png', 'tab\there', 'line\nbreak', 'quo"te', 'ä.png', '']
    for name in [*names, *names]:
        found.add(name, 'why\tnot')
    assert found.read() == dict.fromkeys(names, 'why\tnot')
    # Another process may be in the middle of a line.
    with open(found.path, 'a') as file:
        file.write('["unfinis')
    assert list(found.read()) == names


def test_every_kind_is_one_or_the_other():
    assert set(USABLE).isdisjoint(UNUSABLE)
