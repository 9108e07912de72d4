# Copyright (c) mmfft authors. All rights reserved.
"""Tools that make their own images follow in_channels of the config."""

from importlib.util import find_spec

import numpy as np
import pytest
from config_files import ROOT
from mmengine.config import Config
from PIL import Image
from random_weights import save_random_weights

from mmfft.models import CDFFormer

CLS = ROOT / 'configs/demo/cdfformer-nano_1xb32-6e_digit-crops.py'


@pytest.fixture
def folder(tmp_path):
    (tmp_path / 'images').mkdir()
    for i in range(4):
        pixels = np.random.default_rng(i).integers(0, 256, (64, 64, 4))
        image = Image.fromarray(pixels.astype(np.uint8), 'RGBA')
        image.convert('RGB').save(tmp_path / 'images' / f'{i}.png')
        image.save(tmp_path / '4.png')
        image.convert('L').save(tmp_path / '1.png')
    return tmp_path


@pytest.mark.parametrize('channels', [1, 4])
def test_tools(channels, folder, call_tool, capsys, monkeypatch):
    config = folder / f'{channels}.py'
    kind = 'grayscale' if channels == 1 else 'unchanged'
    config.write_text(
        f'_base_ = {str(CLS)!r}\n'
        f'model = dict(backbone=dict(in_channels={channels}))\n'
        'data_preprocessor = dict(\n'
        f'    _delete_=True, mean=[127.0] * {channels},\n'
        f'    std=[50.0] * {channels}, num_classes=10)\n'
        'test_dataloader = dict(dataset=dict(pipeline=[\n'
        f"    dict(type='LoadImageFromFile', color_type={kind!r}),\n"
        "    dict(type='PackInputs')]))\n"
    )
    weights = save_random_weights(Config.fromfile(config), folder)
    seen = set()
    forward = CDFFormer.forward_levels

    def watch(self, x, levels):
        seen.add(int(x.shape[1]))
        return forward(self, x, levels)

    monkeypatch.setattr(CDFFormer, 'forward_levels', watch)

    def call(tool, *args, fails=False):
        if fails:
            with pytest.raises(SystemExit):
                call_tool(tool, *args, cwd=folder)
            return capsys.readouterr().err
        call_tool(tool, *args, cwd=folder)
        assert seen == {channels}
        seen.clear()
        return capsys.readouterr().out

    call('analysis_tools/get_flops.py', config, '--shape', 64)
    size = ['--size', 64, '--count', 4]
    images = ['--images', folder / 'images']
    field = ['analysis_tools/receptive_field.py', config, '--strides', 16]
    call(*field, *size)
    call(
        'analysis_tools/resolution_profile.py', '--models', config,
        '--sizes', 64, '--rounds', 1,
    )  # fmt: skip
    call(
        'analysis_tools/visualize_filters.py', config, weights,
        '--image', folder / f'{channels}.png', '--out', 'filters.png',
    )  # fmt: skip
    similar = ['analysis_tools/similarity.py', config, config, *images, *size]
    if channels == 1:
        call(*field, *size, *images)
        call(*similar)
    else:
        reason = '--images gives RGB or grey, and the model takes 4 channels'
        assert reason in call(*field, *size, *images, fails=True)
        assert reason in call(*similar, fails=True)
    if channels == 4 and find_spec('onnxruntime'):
        said = call(
            'deployment/export_onnx.py', config, weights, '--out', 'x.onnx'
        )
        assert 'largest difference' in said


def test_two_models_must_see_the_same_images(folder, call_tool, capsys):
    grey = folder / 'grey.py'
    grey.write_text(
        f'_base_ = {str(CLS)!r}\nmodel = dict(backbone=dict(in_channels=1))\n'
    )
    with pytest.raises(SystemExit):
        call_tool(
            'analysis_tools/similarity.py', CLS, grey, '--images', folder,
            '--size', 64, cwd=folder,
        )  # fmt: skip
    assert 'takes images of 3 channels' in capsys.readouterr().err
