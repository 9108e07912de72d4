# Copyright (c) mmfft authors. All rights reserved.
"""Exported files predict what the toolboxes' inferencers predict."""

import subprocess
import sys

import numpy as np
import onnx
import pytest
import tiny_detectors
from config_files import load
from conftest import ROOT
from PIL import Image
from random_weights import save_random_weights
from tiny_detectors import save_sure_weights

from mmfft.deploy import check_shapes, export, load_network
from mmfft.deploy.detections import largest_difference
from mmfft.errors import ConfigError
from mmfft.predict.toolbox_model import ToolboxModel
from mmfft.runtime.engines import RUNTIMES, open_engine
from mmfft.runtime.onnx_model import OnnxModel
from mmfft.runtime.reading import read_image

TOOL = 'deployment/predict_onnx.py'
ARCH = dict(embed_dims=[8, 8, 8, 8], depths=[1, 1, 1, 1])
LOAD = dict(type='LoadImageFromFile')


def classifier():
    cfg = load('configs/demo/cdfformer-nano_1xb32-6e_digit-crops.py')
    cfg.model.backbone.arch = ARCH
    cfg.model.head.in_channels = 8
    cfg.test_dataloader.dataset.pipeline = [
        LOAD,
        dict(
            type='ResizeEdge',
            scale=74,
            edge='short',
            backend='pillow',
            interpolation='bicubic',
        ),
        dict(type='CenterCrop', crop_size=64),
        dict(type='PackInputs'),
    ]
    return cfg


def segmentor():
    cfg = load(
        'configs/demo/cdfformer-nano_fpn_1xb2-2k_digit-scenes-192x256.py'
    )
    cfg.model.backbone.update(arch=ARCH, init_cfg=None, img_size=64)
    cfg.model.neck.update(in_channels=[8] * 4, out_channels=8)
    cfg.model.decode_head.update(in_channels=[8] * 4, channels=8)
    cfg.model.decode_head.norm_cfg = cfg.model.neck.norm_cfg
    cfg.model.data_preprocessor.test_cfg = dict(size_divisor=32)
    cfg.test_dataloader.dataset.pipeline = [
        LOAD,
        dict(type='Resize', scale=(150, 101), keep_ratio=True),
        dict(type='PackSegInputs'),
    ]
    return cfg


def segmentor_of_one_channel():
    """Its pixels are compared with a threshold, not with each other."""
    cfg = segmentor()
    cfg.model.decode_head.update(
        num_classes=2,
        out_channels=1,
        threshold=0.45,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=True),
    )
    metainfo = dict(classes=('rest', 'digit'), palette=[[0] * 3, [9] * 3])
    cfg.test_dataloader.dataset.metainfo = metainfo
    return cfg


def resized(cfg):
    cfg.test_dataloader.dataset.pipeline[1].scale = (150, 101)
    return cfg


CONFIGS = dict(
    classifier=classifier,
    segmentor=segmentor,
    segmentor_of_one_channel=segmentor_of_one_channel,
    retinanet=lambda: resized(tiny_detectors.retinanet()),
    mask_rcnn=lambda: resized(tiny_detectors.mask_rcnn()),
)


@pytest.fixture(scope='module', params=CONFIGS)
def models(request, tmp_path_factory):
    """The toolbox's model, and the path of its file."""
    folder = tmp_path_factory.mktemp('model')
    cfg = CONFIGS[request.param]()
    is_detector = cfg.default_scope == 'mmdet'
    save = save_sure_weights if is_detector else save_random_weights
    checkpoint = save(cfg, folder)
    path = folder / 'model.onnx'
    export(load_network(cfg, checkpoint), path, (64, 64), dynamic=True)
    return ToolboxModel(cfg, checkpoint), path


@pytest.fixture(scope='module')
def pictures(digit_scenes, tmp_path_factory):
    """A picture of the data set, a narrow part of it and one in grey."""
    scenes = digit_scenes / 'scenes' / 'images' / 'validation'
    scene = sorted(scenes.glob('*.png'))[0]
    folder = tmp_path_factory.mktemp('pictures')
    with Image.open(scene) as picture:
        picture.crop((20, 3, 131, 190)).save(folder / 'narrow.jpg')
        picture.convert('L').resize((90, 65)).save(folder / 'grey.png')
    return [scene, folder / 'narrow.jpg', folder / 'grey.png']


@pytest.mark.parametrize('runtime', RUNTIMES)
def test_predictions_are_those_of_the_toolbox(models, pictures, runtime):
    toolbox, path = models
    model = OnnxModel(path, runtime)
    assert model.classes == toolbox.classes
    for picture in pictures:
        image, expected = toolbox.predict_file(picture)
        found = model.predict(read_image(picture))
        assert found.task == expected.task == model.task
        assert found.size == expected.size == image.shape[:2]
        assert found.palette == expected.palette
        if model.task == 'classification':
            assert found.labels[0] == expected.labels[0]
            order, other = found.labels.argsort(), expected.labels.argsort()
            np.testing.assert_allclose(
                found.scores[order], expected.scores[other], atol=1e-5
            )
        elif model.task == 'segmentation':
            assert len(np.unique(expected.label_map)) > 1
            same = found.label_map == expected.label_map
            assert same.mean() > 0.999
        else:
            check_objects(found, expected)


def check_objects(found, expected):
    """Each object has one of the same class, box, score and mask."""
    count = len(expected.labels)
    assert len(found.labels) == count > 5
    assert len(set(expected.labels)) > 1
    # They are not all alike, which any order would satisfy.
    assert np.ptp(expected.scores) > 0.2
    assert (np.diff(found.scores) <= 0).all()
    distance = np.abs(found.boxes[:, None] - expected.boxes).max(-1)
    distance[found.labels[:, None] != expected.labels] = np.inf
    distance += np.abs(found.scores[:, None] - expected.scores)
    order = distance.argmin(1)
    assert sorted(order) == list(range(count))
    assert distance.min(1).max() < 2e-3
    assert (found.masks is None) == (expected.masks is None)
    if found.masks is not None:
        assert expected.masks.any()
        assert (found.masks == expected.masks[order]).mean() > 0.9999


def test_runtimes_agree_on_any_batch_and_size(models):
    """Those that PyTorch is compared with when a file is exported."""
    task = models[0].task
    engines = [open_engine(models[1], runtime) for runtime in RUNTIMES]
    rng = np.random.default_rng(0)
    for batch, *size in check_shapes((64, 64), dynamic=True):
        x = rng.standard_normal((batch, 3, *size)).astype(np.float32)
        inputs = dict(input=x)
        if task == 'detection':
            inputs['image_size'] = np.array(size) - 5
        expected, outputs = (e.run(None, inputs) for e in engines)
        if task == 'detection':
            assert (expected[1] >= 0).sum() > 5
            assert largest_difference(outputs[:2], expected[:2]) < 1e-4
        else:
            np.testing.assert_allclose(
                outputs[0], expected[0], atol=1e-5 * np.abs(expected[0]).max()
            )


def test_a_file_for_one_size(tmp_path, pictures):
    cfg = classifier()
    del cfg.test_dataloader.dataset.pipeline[2]
    network = load_network(cfg, save_random_weights(cfg, tmp_path))
    export(network, tmp_path / 'm.onnx', (74, 98))
    model = OnnxModel(tmp_path / 'm.onnx')
    assert len(model.predict(read_image(pictures[0])).scores) == 10
    with pytest.raises(
        ConfigError,
        match='image of 187x111 becomes an input of 124x74, and .*m.onnx. '
        'takes only 74x98: export it with --dynamic',
    ):
        model.predict(read_image(pictures[1]))
    with pytest.raises(ConfigError, match=r'got float32 \(8, 8, 3\)'):
        model.predict(np.zeros((8, 8, 3), np.float32))


@pytest.fixture(scope='module')
def content(tmp_path_factory):
    """What is in the file of a classifier."""
    folder = tmp_path_factory.mktemp('content')
    cfg = classifier()
    network = load_network(cfg, save_random_weights(cfg, folder))
    return export(network, folder / 'm.onnx', (64, 64))


@pytest.fixture
def exported(content, tmp_path):
    """A function that writes a file with other metadata; returns its path."""

    def write(**changes):
        model = onnx.ModelProto()
        model.CopyFrom(content)
        told = {entry.key: entry.value for entry in content.metadata_props}
        told.update(changes)
        onnx.helper.set_model_props(
            model, {k: v for k, v in told.items() if v is not None}
        )
        onnx.save(model, tmp_path / 'm.onnx')
        return tmp_path / 'm.onnx'

    return write


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(task=None), 'does not tell what its outputs mean'),
        (
            dict(task='features', features_because='X is not a RetinaHead'),
            "has task 'features', and only .* X is not a RetinaHead",
        ),
        (dict(unknown_steps='step Pad'), 'image is prepared: step Pad'),
        (dict(resize='[{"step": "turn"}]'), "step of resize must .* 'turn'"),
    ],
)
def test_files_that_are_refused(changes, message, exported):
    with pytest.raises(ConfigError, match=message):
        OnnxModel(exported(**changes))


def test_no_file(tmp_path):
    with pytest.raises(ConfigError, match='does not exist'):
        OnnxModel(tmp_path / 'gone.onnx')
    (tmp_path / 'text.onnx').write_text('text')
    with pytest.raises(ConfigError, match='not an ONNX file'):
        OnnxModel(tmp_path / 'text.onnx')


@pytest.mark.parametrize('runtime', RUNTIMES)
def test_without_pytorch_and_openmmlab(exported, pictures, tmp_path, runtime):
    """The tool needs one runtime, numpy and Pillow alone."""
    others = set(RUNTIMES) - {runtime}
    names = ('torch', 'torchvision', 'timm', 'mmcv', 'mmengine', 'mmdet')
    hidden = dict.fromkeys((*names, *others, 'mmseg', 'mmpretrain', 'cv2'))
    tool = str(ROOT / 'tools' / TOOL)
    # Python takes None for a module that is not there.
    code = (
        f'import runpy, sys; sys.modules.update({hidden}); '
        f'runpy.run_path({tool!r}, run_name="__main__")'
    )
    call = [sys.executable, '-c', code, exported(), pictures[0]]
    call += ['--runtime', runtime]
    result = subprocess.run(
        [*call, '--out-dir', tmp_path / 'drawn'],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f'{pictures[0]}: class ')
    with Image.open(tmp_path / 'drawn' / f'{pictures[0].stem}.png') as drawn:
        assert drawn.mode == 'RGB'
    # Nothing is overwritten.
    again = subprocess.run(
        [*call, '--out-dir', tmp_path / 'drawn'],
        capture_output=True,
        text=True,
    )
    assert again.returncode == 2
    (line,) = again.stderr.strip().splitlines()
    assert line.startswith('predict_onnx.py: error: ') and 'exists' in line


@pytest.mark.parametrize(
    'options, message',
    [
        (['--score-thr', 2], 'must be from 0 to 1, got 2.0'),
        (['gone.png'], "'gone.png' does not exist"),
        (['--out-dir', 'new', '{picture}'], 'two images would be drawn as'),
    ],
)
def test_wrong_calls(options, message, exported, pictures, call_tool, capsys):
    options = [str(o).format(picture=pictures[0]) for o in options]
    path = exported()
    with pytest.raises(SystemExit) as end:
        call_tool(TOOL, path, pictures[0], *options, cwd=path.parent)
    assert end.value.code == 2
    assert message in capsys.readouterr().err
