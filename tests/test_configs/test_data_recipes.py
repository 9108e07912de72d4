# Copyright (c) mmfft authors. All rights reserved.
"""The snippets of docs/how_to/data_recipes.md as they are, on small data."""

import json
import re
import runpy
import shutil
import sys

import band_pictures
import numpy as np
import pytest
import tifffile
from config_files import ROOT
from mmengine.dataset import Compose
from mmengine.registry import DATASETS, init_default_scope
from PIL import Image

from mmfft.engine import build_model, check_config, load_config
from mmfft.errors import ConfigError
from mmfft.visualization.filters import see_image

PAGE = (ROOT / 'docs/how_to/data_recipes.md').read_text()
SNIPPETS = re.findall(r'```python\n(.*?)```', PAGE, re.S)
NAMED = {s.split()[1]: s for s in SNIPPETS if re.match(r'# \w+\.py', s)}
BANDS = str(ROOT / 'configs' / 'custom' / 'seg_8-bands.py')
# What the snippets inherit from, and so which data they need.
TASKS = {
    name: match[1]
    for name, text in NAMED.items()
    if (match := re.search(r"'mmfft::custom/(\w+)\.py'", text))
}


@pytest.fixture(scope='module')
def data_root(tmp_path_factory):
    """A few 8-band images of 64x64 pixels, as seg.py expects them."""
    root = tmp_path_factory.mktemp('bands')
    band_pictures.write(root, dict(train=4, val=3), (64, 64))
    return root


@pytest.fixture(scope='module')
def layouts(tmp_path_factory, digit_scenes):
    """A folder a task with DigitScenes as the custom configs expect it."""
    root = tmp_path_factory.mktemp('custom')
    scenes = digit_scenes / 'scenes'
    (root / 'cls').symlink_to(digit_scenes / 'crops')
    for split, ours in (('train', 'training'), ('val', 'validation')):
        (root / 'det').mkdir(exist_ok=True)
        (root / 'det' / split).symlink_to(scenes / 'images' / ours)
        shutil.copytree(
            scenes / 'images' / ours, root / 'seg' / 'img_dir' / split
        )
        truth = scenes / 'annotations' / f'instances_{ours}.json'
        (root / 'det' / f'{split}.json').write_text(truth.read_text())
        labels = root / 'seg' / 'ann_dir' / split
        labels.mkdir(parents=True)
        for file in (scenes / 'annotations' / ours).glob('*.png'):
            # Three classes of the eleven.
            label = np.minimum(np.asarray(Image.open(file)), 2)
            Image.fromarray(label).save(labels / file.name)
    (root / 'seg' / 'classes.txt').write_text('ground\nzero\nothers\n')
    (root / 'ins').symlink_to(root / 'det')
    return root


@pytest.mark.slow
def test_eight_bands_are_trained_tested_and_drawn(
    data_root, call_tool, tmp_path
):
    settings = [
        '--cfg-options',
        f'data_root={data_root}',
        'img_size=64',
        'train_cfg.max_epochs=1',
        *(
            f'{split}_dataloader.{key}'
            for split in ('train', 'val', 'test')
            for key in ('num_workers=0', 'persistent_workers=False')
        ),
    ]
    call_tool(
        'train.py', BANDS, '--work-dir', tmp_path, *settings, cwd=tmp_path
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
    assert [p.name for p in pictures] == [f'00{n}.tif.png' for n in range(3)]
    # Truth and prediction, side by side.
    assert Image.open(pictures[0]).size == (128, 64)
    assert np.asarray(Image.open(pictures[0])).std() > 5
    data = dict(data_root=str(data_root), img_size=64)
    cfg = load_config(BANDS, cfg_options=data)
    model = build_model(cfg, str(checkpoint))
    image = str(tmp_path / shown / '000.tif.png')
    path = f'{data_root}/img_dir/val/000.tif'
    assert see_image(model, cfg, path).image.shape == (64, 64, 3)
    with pytest.raises(ConfigError, match=f'{image}.*cannot be read'):
        see_image(model, cfg, image)


def run_snippet(name, *arguments, cwd, monkeypatch):
    (cwd / name).write_text(NAMED[name])
    monkeypatch.setattr(sys, 'argv', [name, *map(str, arguments)])
    runpy.run_path(str(cwd / name))


def test_mean_and_std(data_root, tmp_path, monkeypatch, capsys):
    run_snippet(
        'mean_and_std.py', BANDS, data_root, cwd=tmp_path,
        monkeypatch=monkeypatch,
    )  # fmt: skip
    printed = capsys.readouterr().out
    (mean,) = re.findall(r'^mean = (.*)$', printed, re.M)
    (std,) = re.findall(r'^std = (.*)$', printed, re.M)
    files = sorted((data_root / 'img_dir' / 'train').iterdir())
    pixels = np.stack([tifffile.imread(file) for file in files])
    expected = pixels.mean((0, 1, 2))
    np.testing.assert_allclose(json.loads(mean), expected, atol=300)
    expected = pixels.std((0, 1, 2))
    np.testing.assert_allclose(json.loads(std), expected, rtol=0.3)


@pytest.mark.slow
@pytest.mark.parametrize('name', TASKS)
def test_a_snippet_can_be_trained(name, layouts, tmp_path):
    (tmp_path / name).write_text(NAMED[name])
    sizes = dict(cls=64, seg=(128, 192))
    options = dict(
        data_root=str(layouts / TASKS[name]),
        img_size=sizes.get(TASKS[name], (64, 96)),
    )
    cfg = load_config(str(tmp_path / name), cfg_options=options)
    assert check_config(cfg) == []


def test_every_snippet_but_one_is_run():
    assert len(TASKS) == 6
    assert set(NAMED) - set(TASKS) == {'mean_and_std.py'}
    (other,) = set(SNIPPETS) - set(NAMED.values())
    assert 'sahi' in other


def test_rare_classes_are_drawn_more_often(tmp_path):
    for split in ('train', 'val'):
        for name, count in (('often', 20), ('rare', 2)):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                Image.new('RGB', (32, 32)).save(folder / f'{i}.png')
    (tmp_path / 'rare.py').write_text(NAMED['rare.py'])
    cfg = load_config(
        str(tmp_path / 'rare.py'),
        cfg_options={
            'data_root': str(tmp_path),
            'train_dataloader.dataset.oversample_thr': 0.5,
        },
    )
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
