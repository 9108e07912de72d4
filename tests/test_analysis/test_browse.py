# Copyright (c) mmfft authors. All rights reserved.
import numpy as np
import pytest
from config_files import DEMO, ROOT, load_small
from conftest import small_data
from PIL import Image

from mmfft.analysis.browse import browse
from mmfft.errors import ConfigError


@pytest.mark.parametrize('toolbox', DEMO)
@pytest.mark.parametrize('split', ['train', 'val'])
def test_each_toolbox_draws(toolbox, split, digit_scenes, tmp_path):
    cfg = load_small(toolbox, digit_scenes)
    assert browse(cfg, split, tmp_path, 2) == 2
    pictures = sorted(tmp_path.rglob('*.png'))
    assert len(pictures) == 2
    colourful = 0
    for picture in pictures:
        pixels = np.asarray(Image.open(picture).convert('RGB'), int)
        assert pixels.std() > 5
        colourful += (np.ptp(pixels, axis=2) > 100).sum()
    # Boxes and masks have bright colours.
    assert toolbox == 'mmpretrain' or colourful > 100


def test_annotations_of_a_test_are_where_the_objects_are(
    digit_scenes, tmp_path
):
    """In a test the image is resized before its annotations are loaded."""
    cfg = load_small('mmdet', digit_scenes)
    steps = cfg.val_dataloader.dataset.pipeline
    assert [step.type for step in steps[1:3]] == ['Resize', 'LoadAnnotations']
    steps[1].scale = (64, 48)
    browse(cfg, 'val', tmp_path, 1)
    (picture,) = tmp_path.rglob('*.png')
    assert Image.open(picture).size == (256, 192)


def test_a_repeated_image_keeps_all_its_pictures(digit_scenes, tmp_path):
    cfg = load_small('mmpretrain', digit_scenes)
    dataset = cfg.train_dataloader.dataset
    dataset.indices = 2
    cfg.train_dataloader.dataset = dict(
        type='RepeatDataset', times=3, dataset=dataset
    )
    assert browse(cfg, 'train', tmp_path) == 6
    assert len(list(tmp_path.rglob('*.png'))) == 6


def test_what_cannot_be_drawn(digit_scenes, tmp_path):
    cfg = load_small('mmpretrain', digit_scenes)
    with pytest.raises(ConfigError, match='--show-number.*0'):
        browse(cfg, 'train', tmp_path, 0)
    with pytest.raises(ConfigError, match='no display.*--output-dir'):
        browse(cfg)
    cfg.test_dataloader = None
    with pytest.raises(ConfigError, match='no test_dataloader'):
        browse(cfg, 'test', tmp_path)


def test_tool(digit_scenes, tmp_path, call_tool, capsys):
    call_tool(
        'analysis_tools/browse_dataset.py', ROOT / DEMO['mmpretrain'],
        '-p', 'val', '-o', 'out', '-n', 3, '--cfg-options',
        *small_data('mmpretrain', digit_scenes), cwd=tmp_path,
    )  # fmt: skip
    assert '3 samples of val drawn into out' in capsys.readouterr().out
