# Copyright (c) mmfft authors. All rights reserved.
"""Exporting by the command line, in each toolbox."""

import json

import numpy as np
import onnx
import pytest
from config_files import load
from conftest import ROOT
from random_weights import save_random_weights

from mmfft.deploy import open_session

pytestmark = pytest.mark.slow

CLS = 'configs/demo/cdfformer-nano_1xb32-6e_digit-crops.py'
DET = 'configs/demo/mask-rcnn_cdfformer-nano_fpn_1xb4-3e_digit-scenes.py'
SEG = 'configs/demo/cdfformer-nano_fpn_1xb2-2k_digit-scenes-192x256.py'


@pytest.fixture
def export(tmp_path, call_tool, capsys):
    """Function that exports with random weights; exit status and output."""

    def run(config, *options):
        weights = save_random_weights(load(config), tmp_path)
        arguments = [ROOT / config, weights, '--out', 'm.onnx', *options]
        code = 0
        try:
            call_tool('deployment/export_onnx.py', *arguments, cwd=tmp_path)
        except SystemExit as stop:
            code = stop.code
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def names(path):
    return [output.name for output in onnx.load(path).graph.output]


def test_a_classifier(export, tmp_path):
    code, out, _ = export(CLS, '--dynamic')
    assert code == 0
    for shape in ('1 of 64x64', '2 of 65x64', '1 of 49x33', '3 of 32x48'):
        assert f'{shape}: relative difference to PyTorch' in out
    assert 'times as fast' in out and 'tolerance 0.0001: ok' in out
    assert names(tmp_path / 'm.onnx') == ['logits']
    properties = onnx.load(tmp_path / 'm.onnx').metadata_props
    metadata = {entry.key: entry.value for entry in properties}
    assert len(json.loads(metadata['mean'])) == 3


# Narrow; its pooling is one that ONNX does not have.
UPERNET = f"""
_base_ = '{ROOT}/configs/_base_/models/upernet.py'
default_scope = 'mmseg'
dims = [16, 24, 32, 48]
model = dict(
    backbone=dict(
        type='mmfft.DFFormer',
        arch=dict(embed_dims=dims, depths=[1, 1, 1, 1]),
        img_size=(96, 128)),
    decode_head=dict(in_channels=dims, channels=16),
    auxiliary_head=dict(in_channels=dims[2], channels=16))
"""


@pytest.mark.parametrize('head', ['Semantic FPN', 'UPerNet'])
def test_a_segmentor(export, tmp_path, infer_shapes, head):
    config = SEG
    if head == 'UPerNet':
        config = tmp_path / 'upernet.py'
        config.write_text(UPERNET)
    code, out, _ = export(config, '--dynamic', '--shape', 96, 128)
    assert code == 0
    assert out.count('relative difference to PyTorch') >= 5
    assert names(tmp_path / 'm.onnx') == ['logits']
    infer_shapes(onnx.load(tmp_path / 'm.onnx'))


RETINANET = f"""
_base_ = '{ROOT}/configs/_base_/models/retinanet_fpn.py'
default_scope = 'mmdet'
model = dict(
    backbone=dict(
        type='mmfft.DFFormer',
        arch=dict(embed_dims=[16, 24, 32, 48], depths=[1, 1, 1, 1]),
        img_size=(96, 128)),
    neck=dict(in_channels=[24, 32, 48], out_channels=16),
    bbox_head=dict(
        in_channels=16, feat_channels=16, stacked_convs=1, num_classes=3))
"""


@pytest.mark.parametrize('options', [[], ['--half']])
def test_a_retinanet(export, tmp_path, infer_shapes, options):
    config = tmp_path / 'retinanet.py'
    config.write_text(RETINANET)
    code, out, err = export(config, '--dynamic', *options)
    assert code == 0
    assert out.count('relative difference to PyTorch') == 5
    assert names(tmp_path / 'm.onnx') == ['dets', 'labels']
    assert 'warning: predict_onnx.py will refuse' in err
    assert 'which the config does not have' in err
    session = open_session(tmp_path / 'm.onnx')
    # What it takes besides may be left out.
    x = np.zeros((1, 3, 96, 128), np.float32)
    dets, labels = session.run(None, dict(input=x))
    assert dets.shape == (1, 100, 5) and labels.shape == (1, 100)
    infer_shapes(onnx.load(tmp_path / 'm.onnx'))


def test_a_mask_rcnn(export, tmp_path):
    code, out, _ = export(DET, '--dynamic', '--opset', 20)
    assert code == 0
    assert out.count('relative difference to PyTorch') == 5
    assert names(tmp_path / 'm.onnx') == ['dets', 'labels', 'masks']


def test_backbone_and_neck_of_a_detector(export, tmp_path):
    options = 'model.test_cfg.rcnn.nms.type=soft_nms'
    code, out, err = export(DET, '--half', '--cfg-options', options)
    assert code == 0
    assert "test_cfg has nms={'type': 'soft_nms'" in err
    assert out.count('relative difference to PyTorch') == 1
    assert names(tmp_path / 'm.onnx') == [f'feature_{i}' for i in range(3)]


def test_above_the_tolerance(export):
    code, _, error = export(CLS, '--tolerance', 1e-12)
    assert code == 1
    assert 'the difference is above the tolerance of 1e-12' in error


@pytest.mark.parametrize(
    'options, message',
    [
        (['--opset', 16], 'opset=16 must be from 17 to 20'),
        (['--shape', 0, 64], 'must be positive'),
        (['--cfg-options', 'default_scope=none'], "default_scope='none'"),
    ],
)
def test_what_is_wrong_is_one_line(options, message, export):
    code, _, error = export(CLS, *options)
    assert code == 2
    last = error.strip().splitlines()[-1]
    assert last.startswith('export_onnx.py: error: ') and message in last


def test_a_missing_checkpoint_is_one_line(tmp_path, call_tool, capsys):
    with pytest.raises(SystemExit) as end:
        call_tool(
            'deployment/export_onnx.py',
            ROOT / CLS,
            'gone.pth',
            '--out',
            'm.onnx',
            cwd=tmp_path,
        )
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert "checkpoint 'gone.pth' does not exist" in said
