# Copyright (c) mmfft authors. All rights reserved.
"""Data that a check must read as the run does, without a false alarm."""

import io
from contextlib import redirect_stdout

import numpy as np
import pytest
from mmcv.transforms import BaseTransform
from mmengine.config import Config
from mmengine.fileio import LocalBackend, register_backend
from mmengine.registry import DATASETS, TRANSFORMS
from PIL import Image
from torch.utils.data import Dataset

from mmfft.datasets.check import check_dataset

LOAD = dict(type='LoadImageFromFile')


def segmentation(steps, suffix='.png', **options):
    dataset = dict(
        type='BaseSegDataset',
        img_suffix=suffix,
        data_prefix=dict(img_path='images', seg_map_path='labels'),
        metainfo=dict(classes=('a', 'b')),
        pipeline=[
            *steps,
            dict(type='LoadAnnotations', imdecode_backend='cv2'),
        ],
    )
    dataset.update(options)
    return config('mmseg', dataset)


def config(scope, dataset, loader='train', **more):
    loaders = {f'{loader}_dataloader': dict(dataset=dataset)}
    return Config(dict(default_scope=scope, model=dict(), **loaders, **more))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ('images', 'labels'):
        (tmp_path / name).mkdir()
    labels = np.resize([0, 1], (30, 40)).astype(np.uint8)
    Image.fromarray(labels).save('labels/1.png')
    return tmp_path


def write_png(path):
    values = np.random.default_rng(0).integers(0, 255, (30, 40, 3))
    Image.fromarray(values.astype(np.uint8)).save(path)


class LoadArray(BaseTransform):
    def transform(self, results):
        results['img'] = np.load(results['img_path'])
        return results


def test_images_that_pillow_cannot_read(folder, monkeypatch):
    tifffile = pytest.importorskip('tifffile')
    tifffile.imwrite('images/1.tif', np.ones((30, 40, 8), np.uint16))
    step = dict(LOAD, imdecode_backend='tifffile', color_type='unchanged')
    assert check_dataset(segmentation([step], '.tif'))[1] == []
    monkeypatch.setitem(TRANSFORMS._module_dict, 'LoadArray', LoadArray)
    np.save('images/1.npy', np.ones((30, 40, 13), np.float32))
    step = dict(type='LoadArray')
    assert check_dataset(segmentation([step], '.npy'))[1] == []
    # And they are read: this one has another size.
    np.save('images/1.npy', np.ones((20, 40, 13), np.float32))
    (problem,) = check_dataset(segmentation([step], '.npy'))[1]
    assert problem.kind == 'wrong size'


def test_large_images(folder, monkeypatch):
    """Pillow's limit does not matter to OpenCV, but to Pillow."""
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100)
    write_png('images/1.png')
    assert check_dataset(segmentation([LOAD]))[1] == []
    step = dict(LOAD, imdecode_backend='pillow')
    (problem,) = check_dataset(segmentation([step]))[1]
    assert 'DecompressionBombError' in problem.what
    assert "imdecode_backend='cv2'" in problem.fix


def test_truncated_images_that_the_loader_fills_up(folder, monkeypatch):
    """Whatever this OpenCV does with them."""
    write_png('images/1.png')
    image = Image.open('images/1.png')
    image.save('images/1.jpg')
    data = (folder / 'images' / '1.jpg').read_bytes()
    (folder / 'images' / '1.jpg').write_bytes(data[: len(data) // 2])
    monkeypatch.setitem(TRANSFORMS._module_dict, 'LoadGrey', LoadGrey)
    cfg = segmentation([dict(type='LoadGrey')], '.jpg')
    (problem,) = check_dataset(cfg)[1]
    assert problem.kind == 'unreadable image' and 'truncated' in problem.what


class LoadGrey(BaseTransform):
    backend_args = None

    def transform(self, results):
        results['img'] = np.full((30, 40, 3), 128, np.uint8)
        return results


@register_backend('elsewhere', force=True)
class Elsewhere(LocalBackend):
    """Files that are not where the config says, like path_mapping."""

    def __init__(self, path_mapping=None):
        self.path_mapping = path_mapping

    def _map(self, path):
        for ours, theirs in self.path_mapping.items():
            path = str(path).replace(ours, theirs)
        return path

    def get(self, path):
        return super().get(self._map(path))

    def exists(self, path):
        return super().exists(self._map(path))

    def list_dir_or_file(self, dir_path, *options):
        return super().list_dir_or_file(self._map(dir_path), *options)


def test_files_of_a_backend(folder):
    write_png('images/1.png')
    args = dict(backend='elsewhere', path_mapping={'far/': ''})
    cfg = segmentation(
        [dict(LOAD, backend_args=args)],
        data_prefix=dict(img_path='far/images', seg_map_path='far/labels'),
        backend_args=args,
    )
    step = cfg.train_dataloader.dataset.pipeline[1]
    step.backend_args = args
    images, problems = check_dataset(cfg)
    assert (images['train'], problems) == (1, [])


def test_only_images_are_behind_a_backend(folder):
    write_png('images/1.png')
    (folder / 'list.txt').write_text('1.png 0\n')
    args = dict(backend='elsewhere', path_mapping={'far/': ''})
    dataset = dict(
        type='CustomDataset',
        ann_file='list.txt',
        data_prefix='far/images',
        pipeline=[dict(LOAD, backend_args=args)],
    )
    images, problems = check_dataset(config('mmpretrain', dataset))
    assert (images['train'], problems) == (1, [])
    dataset['pipeline'] = [LOAD]
    (problem,) = check_dataset(config('mmpretrain', dataset))[1]
    assert problem.kind == 'missing file'


@pytest.mark.parametrize('scope', ['mmpretrain', 'mmdet', 'mmseg'])
def test_tests_without_labels(scope, folder):
    write_png('images/1.png')
    truth = dict(
        images=[dict(id=1, file_name='1.png', width=40, height=30)],
        categories=[dict(id=1, name='a')],
    )
    (folder / 'test.json').write_text(str(truth).replace("'", '"'))
    dataset = dict(
        mmpretrain=dict(
            type='CustomDataset', data_root='images', with_label=False
        ),
        mmdet=dict(
            type='CocoDataset',
            ann_file='test.json',
            data_prefix=dict(img='images/'),
            metainfo=dict(classes=('a',)),
            test_mode=True,
        ),
        mmseg=dict(
            type='BaseSegDataset',
            img_suffix='.png',
            data_prefix=dict(img_path='images'),
            metainfo=dict(classes=('a', 'b')),
            test_mode=True,
        ),
    )[scope]
    metric = dict(type='CocoMetric', ann_file='test.json')
    cfg = config(
        scope,
        dict(dataset, pipeline=[LOAD]),
        'test',
        test_evaluator=metric if scope == 'mmdet' else dict(type='Any'),
    )
    images, problems = check_dataset(cfg)
    assert (images['test'], problems) == (1, [])
    assert images.notes


XML = """<annotation>
<size><width>40</width><height>30</height></size>
<object><name>cell</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>{}</xmax>
<ymax>20</ymax></bndbox></object></annotation>"""


def test_voc(folder):
    for name in ('JPEGImages', 'Annotations'):
        (folder / name).mkdir()
    write_png('images/1.png')
    Image.open('images/1.png').save('JPEGImages/1.jpg')
    (folder / 'list.txt').write_text('1\n')
    xml = folder / 'Annotations' / '1.xml'
    xml.write_text(XML.format(20))
    dataset = dict(
        type='VOCDataset',
        ann_file='list.txt',
        data_prefix=dict(sub_data_root='./'),
        metainfo=dict(classes=('cell',)),
        pipeline=[LOAD],
    )
    images, problems = check_dataset(config('mmdet', dataset))
    assert problems == [] and images.classes['train'] == dict(cell=1)
    xml.write_text(XML.format(90))
    (problem,) = check_dataset(config('mmdet', dataset))[1]
    assert problem.kind == 'box outside the image'
    # Without metainfo, mmdet takes the names of VOC and drops all others.
    del dataset['metainfo']
    (problem,) = check_dataset(config('mmdet', dataset))[1]
    assert "metainfo=dict(classes=('cell',))" in problem.fix
    assert problem.level == 'fatal'


@pytest.mark.parametrize('how', ['none', 'missing'])
def test_no_default_scope(how, folder):
    write_png('images/1.png')
    cfg = segmentation([LOAD])
    dataset = cfg.train_dataloader.dataset
    dataset.type = 'mmseg.BaseSegDataset'
    dataset.pipeline[1].type = 'mmseg.LoadAnnotations'
    if how == 'none':
        cfg.default_scope = None
    else:
        cfg.pop('default_scope')
    images, problems = check_dataset(cfg)
    assert (images['train'], problems) == (1, [])


class Strange(Dataset):
    pass


def test_classes_that_are_not_known(folder, monkeypatch):
    """They are said, not taken for a problem."""
    monkeypatch.setitem(DATASETS._module_dict, 'Strange', Strange)
    images, problems = check_dataset(config(None, dict(type='Strange')))
    assert problems == []
    assert 'Strange is no BaseDataset' in images.notes[0].what


def test_nothing_is_printed_by_pycocotools(folder):
    (folder / 'a.json').write_text('{"images": [], "categories": []}')
    dataset = dict(type='CocoDataset', ann_file='a.json', pipeline=[LOAD])
    with redirect_stdout(io.StringIO()) as said:
        _, problems = check_dataset(config('mmdet', dataset))
    assert said.getvalue() == ''
    assert problems[0].what.startswith('the annotation file lists no image')
