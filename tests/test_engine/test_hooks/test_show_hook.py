# Copyright (c) mmfft authors. All rights reserved.
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmcv import imread
from mmengine.config import Config
from mmengine.registry import VISUALIZERS, init_default_scope
from mmpretrain.structures import DataSample

from mmfft.engine import ShowHook
from mmfft.engine.hooks.show_hook import picture_names
from mmfft.errors import ConfigError


class Data(list):
    metainfo = dict(classes=['a', 'b'])

    def get_data_info(self, index):
        return dict(img_path=self[index]) if self[index] else {}


@pytest.mark.parametrize(
    'paths, names',
    [
        (['d/a.png', 'd/b.jpg'], ['a.png', 'b.jpg']),
        (['d/a.png'], ['a.png']),
        # The same name in two folders, as of classes.
        (['d/a/1.png', 'd/b/1.png'], ['a/1.png', 'b/1.png']),
        (['/x/a/1.png', '/y/1.JPG'], ['x/a/1.png', 'y/1.JPG']),
        # Files that differ only in an ending that no picture has.
        (['d/1.tif', 'd/1.npy'], ['1.tif.png', '1.npy.png']),
        (['s3://b/x/1.png', 's3://b/y/1.png'], ['x/1.png', 'y/1.png']),
        # In memory, as those of CIFAR.
        ([None, None], ['000000.png', '000001.png']),
    ],
)
def test_pictures_have_the_names_of_the_images(paths, names):
    assert picture_names(Data(paths)) == names


def test_data_without_infos_is_counted():
    assert picture_names([1, 2]) == ['000000.png', '000001.png']


@pytest.fixture
def draw(tmp_path, monkeypatch):
    """Test five images in batches of two, as one of several processes."""

    def run(rank=0, world=1, **options):
        init_default_scope('mmpretrain')
        name = f'{rank} of {world} {options}'
        VISUALIZERS.build(dict(type='UniversalVisualizer', name=name))
        for key, value in (('get_rank', rank), ('get_world_size', world)):
            where = f'mmfft.engine.hooks.show_hook.{key}'
            monkeypatch.setattr(where, lambda value=value: value)
        monkeypatch.setattr(
            'mmengine.dist.utils.is_main_process', lambda: rank == 0
        )
        # The hook by itself would draw one sample of five thousand.
        hook = ShowHook(
            dict(type='VisualizationHook'), str(tmp_path), **options
        )
        data = Data(f'd/{i}.png' for i in range(5))
        runner = SimpleNamespace(
            test_dataloader=SimpleNamespace(dataset=data),
            cfg=Config(dict(test_dataloader=dict(dataset=dict()))),
        )
        hook.before_test_epoch(runner)
        mine = [i % 5 for i in range(rank, -(-5 // world) * world, world)]
        for number in range(0, len(mine), 2):
            batch = mine[number : number + 2]
            # An image is as bright as its index.
            inputs = [torch.full((3, 32, 32), 40.0 * i) for i in batch]
            samples = [DataSample().set_pred_label(1) for _ in batch]
            inputs = dict(inputs=torch.stack(inputs))
            hook.after_test_iter(runner, number // 2, inputs, samples)
        return sorted(path.name for path in tmp_path.glob('*.png'))

    return run


def test_every_image_is_drawn_and_under_its_name(draw, tmp_path):
    assert draw() == [f'{i}.png' for i in range(5)]
    for i in range(5):
        corner = imread(tmp_path / f'{i}.png')[-4:, -4:]
        np.testing.assert_array_equal(corner, 40 * i)


def test_several_processes_draw_each_their_share(draw):
    assert draw(0, 2) == ['0.png', '2.png', '4.png']
    assert draw(1, 2) == [f'{i}.png' for i in range(5)]


def test_the_first_images_of_the_test(draw):
    assert draw(0, 2, num=3) == ['0.png', '2.png']
    assert draw(1, 2, num=3) == ['0.png', '1.png', '2.png']
    with pytest.raises(ConfigError, match='--show-num'):
        draw(num=0)


def test_what_the_model_was_given_is_drawn_in_its_colours(tmp_path):
    init_default_scope('mmpretrain')
    VISUALIZERS.build(dict(type='UniversalVisualizer', name='colours'))
    hook = ShowHook(dict(type='VisualizationHook'), str(tmp_path))
    steps = [dict(type='LoadImageFromFile')]
    for bands, expected in (
        (3, [10, 20, 30]),
        (1, [10, 10, 10]),
        (8, [30, 20, 10]),
    ):
        if bands == 8:
            steps[0]['imdecode_backend'] = 'tifffile'
        dataset = dict(pipeline=steps)
        runner = SimpleNamespace(
            test_dataloader=SimpleNamespace(dataset=Data(['d/a.png'])),
            cfg=Config(dict(test_dataloader=dict(dataset=dataset))),
        )
        hook.before_test_epoch(runner)
        values = 10 * torch.arange(1, bands + 1, dtype=torch.uint8)
        inputs = values[:, None, None].expand(1, bands, 32, 32)
        sample = DataSample().set_pred_label(1)
        hook.after_test_iter(runner, 0, dict(inputs=inputs), [sample])
        # imread returns BGR.
        corner = imread(tmp_path / 'a.png')[-1, -1]
        assert corner.tolist() == expected
