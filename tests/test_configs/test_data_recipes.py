# Copyright (c) mmfft authors. All rights reserved.
"""The snippets and commands of docs/data_recipes.md, on small data."""

import numpy as np
import pytest
import tifffile
import torch
from config_files import ROOT
from mmengine.registry import DATASETS, init_default_scope
from mmengine.runner import Runner
from PIL import Image

from mmfft.engine import build_model, load_config
from mmfft.visualization.filters import see_image

CUSTOM = ROOT / 'configs' / 'custom'
BANDS = str(CUSTOM / 'seg_8-bands.py')
AT_ONCE = {
    f'{split}_dataloader.{key}': value
    for split in ('train', 'val', 'test')
    for key, value in (('num_workers', 0), ('persistent_workers', False))
}


def bands(rng, size, classes=2):
    """16-bit bands, of which only the last four show the class."""
    label = np.zeros((size, size), np.uint8)
    label[size // 4 : size // 2, size // 4 : size // 2] = classes - 1
    image = rng.normal(1000, 100, (size, size, 8))
    image[..., 4:] += 400 * (label[..., None] > 0)
    return image.astype(np.uint16), label


@pytest.fixture(scope='module')
def data_root(tmp_path_factory):
    """Two 8-band images of 64x64 pixels a split, as seg.py expects them."""
    root = tmp_path_factory.mktemp('bands')
    rng = np.random.default_rng(0)
    for split in ('train', 'val'):
        for kind in ('img_dir', 'ann_dir'):
            (root / kind / split).mkdir(parents=True)
        for name in 'abcd':
            image, label = bands(rng, 64)
            file = root / 'img_dir' / split / f'{name}.tif'
            tifffile.imwrite(file, image, photometric='minisblack')
            file = root / 'ann_dir' / split / f'{name}.png'
            Image.fromarray(label).save(file)
    (root / 'classes.txt').write_text('ground\nwater\n')
    return root


@pytest.fixture
def options(data_root, tmp_path):
    return {
        **AT_ONCE,
        'data_root': str(data_root),
        'img_size': 64,
        'train_cfg.max_epochs': 1,
        'train_cfg.val_interval': 1,
        'work_dir': str(tmp_path),
    }


def train(cfg):
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


def on_command_line(options):
    return ['--cfg-options', *(f'{k}={v}' for k, v in options.items())]


@pytest.mark.slow
def test_eight_bands_are_trained_tested_and_drawn(
    options, call_tool, tmp_path
):
    work_dir = options.pop('work_dir')
    settings = on_command_line(options)
    call_tool(
        'train.py', BANDS, '--work-dir', work_dir, *settings, cwd=tmp_path
    )
    checkpoint = tmp_path / 'epoch_1.pth'
    shown = tmp_path / 'shown'
    call_tool(
        'test.py',
        BANDS,
        str(checkpoint),
        '--show-dir',
        str(shown),
        *settings,
        cwd=tmp_path,
    )
    pictures = sorted(shown.iterdir())
    assert [p.name for p in pictures] == [f'{n}.tif.png' for n in 'abcd']
    # Truth and prediction, side by side.
    assert Image.open(pictures[0]).size == (128, 64)
    assert np.asarray(Image.open(pictures[0])).std() > 5
    cfg = load_config(BANDS, cfg_options=options)
    model = build_model(cfg, str(checkpoint))
    image = str(tmp_path / shown / 'a.tif.png')
    path = f'{options["data_root"]}/img_dir/val/a.tif'
    assert see_image(model, cfg, path).image.shape == (64, 64, 3)
    with pytest.raises(Exception, match=f'{image}.*cannot be read'):
        see_image(model, cfg, image)


def test_mean_and_std_of_the_data(options):
    cfg = load_config(BANDS, cfg_options=options)
    init_default_scope(cfg.default_scope)
    dataset = cfg.train_dataloader.dataset
    dataset.pipeline = [cfg.load[0], dict(type='PackSegInputs')]
    samples = DATASETS.build(dataset)
    pixels = torch.cat([s['inputs'].flatten(1) for s in samples], 1).double()
    expected = [1000] * 4 + [1025] * 4
    assert pixels.mean(1).tolist() == pytest.approx(expected, abs=10)
    assert pixels.std(1)[:4].tolist() == pytest.approx([100] * 4, rel=0.05)


WEIGHTS = [1.0, 10.0]
RECIPES = {
    'slide': dict(
        model=dict(
            test_cfg=dict(mode='slide', crop_size=(32, 32), stride=(24, 24))
        )
    ),
    'class_weight': dict(
        model=dict(
            decode_head=dict(
                loss_decode=dict(class_weight=WEIGHTS, avg_non_ignore=False)
            )
        )
    ),
    'ohem': dict(
        model=dict(
            decode_head=dict(
                sampler=dict(type='OHEMPixelSampler', min_kept=500)
            )
        )
    ),
}


@pytest.mark.parametrize('recipe', RECIPES)
def test_recipes_of_segmentors(recipe, options):
    cfg = load_config(BANDS, cfg_options=options)
    cfg.merge_from_dict(RECIPES[recipe])
    runner = train(cfg)
    losses = runner.message_hub.get_scalar('train/loss').data[0]
    assert np.isfinite(losses).all()
    head = runner.model.decode_head
    if recipe == 'class_weight':
        assert head.loss_decode.class_weight == WEIGHTS
    elif recipe == 'ohem':
        assert head.sampler.min_kept == 500
    else:
        assert runner.model.test_cfg.mode == 'slide'


def test_rare_classes_are_drawn_more_often(tmp_path):
    from mmfft.openmmlab.scopes import leaf_datasets

    for split in ('train', 'val'):
        for name, count in (('often', 20), ('rare', 2)):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                Image.new('RGB', (32, 32)).save(folder / f'{i}.png')
    options = dict(data_root=str(tmp_path), img_size=32)
    cfg = load_config(str(CUSTOM / 'cls.py'), cfg_options=options)
    inner = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = dict(
        type='ClassBalancedDataset', oversample_thr=0.5, dataset=inner
    )
    assert list(leaf_datasets(cfg.train_dataloader.dataset)) == [inner]
    init_default_scope(cfg.default_scope)
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    labels = [
        dataset.get_data_info(i)['gt_label'] for i in range(len(dataset))
    ]
    # sqrt(0.5 / (2 / 22)) = 2.3 times, rounded up
    assert (labels.count(0), labels.count(1)) == (20, 6)


@pytest.mark.parametrize('channels', [1, 4, 8, 13])
@pytest.mark.parametrize('dtype', ['uint8', 'uint16', 'float32'])
def test_steps_that_take_any_number_of_bands(channels, dtype):
    init_default_scope('mmseg')
    from mmengine.dataset import Compose

    steps = Compose(
        [
            dict(
                type='Normalize',
                mean=[50.0] * channels,
                std=[20.0] * channels,
                to_rgb=False,
            ),
            dict(type='RandomResize', scale=(40, 40), ratio_range=(1, 1)),
            dict(type='RandomCrop', crop_size=(32, 32)),
            dict(type='RandomFlip', prob=1.0),
            dict(type='RandomRotate', prob=1.0, degree=20),
            dict(type='PackSegInputs'),
        ]
    )
    image = np.random.default_rng(0).random((32, 32, channels)) * 200
    image = image.astype(dtype)
    label = np.zeros((32, 32), np.uint8)
    packed = steps(
        dict(
            img=image,
            img_shape=(32, 32),
            ori_shape=(32, 32),
            gt_seg_map=label,
            seg_fields=['gt_seg_map'],
        )
    )
    assert packed['inputs'].shape == (channels, 32, 32)
