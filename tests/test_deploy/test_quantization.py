# Copyright (c) mmfft authors. All rights reserved.
"""Files in 8-bit integers, from tiny networks and a few pictures."""

import json
import re
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from config_files import DEMO, load_small
from conftest import ROOT, small_data
from random_weights import save_random_weights
from tiny_detectors import retinanet, save_sure_weights

from mmfft.deploy import export, load_network, open_session
from mmfft.deploy.quantization import TrainingImages, quantize
from mmfft.errors import ConfigError
from mmfft.runtime.onnx_model import OnnxModel
from mmfft.runtime.reading import read_image

TINY = dict(embed_dims=[8, 8, 8, 8], depths=[1, 1, 1, 1])


def classifier(digit_scenes):
    cfg = load_small('mmpretrain', digit_scenes)
    cfg.model.backbone.arch = TINY
    cfg.model.head.in_channels = 8
    return cfg


@pytest.fixture
def cfg(digit_scenes):
    return classifier(digit_scenes)


@pytest.fixture(scope='module')
def files(digit_scenes, tmp_path_factory):
    """A folder with a file in float32, one in float16, and one in 8 bits."""
    folder = tmp_path_factory.mktemp('files')
    cfg = classifier(digit_scenes)
    network = load_network(cfg, save_random_weights(cfg, folder))
    export(network, folder / 'float.onnx', (64, 64))
    export(network, folder / 'half.onnx', (64, 64), half=True)
    quantize(cfg, folder / 'float.onnx', folder / 'int8.onnx', images=4)
    return folder


def weights_in_8_bits(path):
    """Operators with 8-bit constants, and which input is the constant."""
    graph = onnx.load(path).graph
    given = {weight.name for weight in graph.initializer}
    constants = {
        node.output[0]
        for node in graph.node
        if node.op_type == 'DequantizeLinear' and node.input[0] in given
    }
    return {
        (node.op_type, place)
        for node in graph.node
        for place, name in enumerate(node.input[:2])
        if name in constants
    }


def test_what_the_file_says(files):
    before, after = (
        {p.key: p.value for p in onnx.load(files / name).metadata_props}
        for name in ('float.onnx', 'int8.onnx')
    )
    told = json.loads(after.pop('quantized'))
    assert after == before
    assert told == dict(
        kinds=['conv', 'linear'], method='minmax', images=4, per_channel=False
    )
    model = onnx.load(files / 'int8.onnx')
    assert [entry.domain for entry in model.opset_import] == ['']


def test_predictions_are_almost_the_same(files, digit_scenes):
    paths = sorted((digit_scenes / 'crops' / 'val').rglob('*.png'))[:6]
    models = [OnnxModel(files / f'{n}.onnx') for n in ('float', 'int8')]
    for path in paths:
        one, other = (model.predict(read_image(str(path))) for model in models)
        order = np.argsort(one.labels), np.argsort(other.labels)
        difference = one.scores[order[0]] - other.scores[order[1]]
        assert 0 < np.abs(difference).max() < 0.05


@pytest.mark.parametrize(
    'kind, expected',
    [
        ('conv', {('Conv', 1)}),
        ('linear', {('MatMul', 1), ('Gemm', 1)}),
        ('fourier', {('MatMul', 0)}),
    ],
)
def test_kinds_of_operators(kind, expected, cfg, files, tmp_path):
    out = tmp_path / 'q.onnx'
    done = quantize(cfg, files / 'float.onnx', out, images=2, kinds=[kind])
    assert weights_in_8_bits(out) == expected
    assert 0 < done.operators[0] < done.operators[1]


def test_everything_else(cfg, files, tmp_path):
    out = tmp_path / 'q.onnx'
    quantize(cfg, files / 'float.onnx', out, images=2, kinds=['other'])
    types = {kind for kind, _ in weights_in_8_bits(out)}
    assert 'Mul' in types and not types & {'Conv', 'MatMul', 'Gemm'}


def test_what_is_excluded_stays(cfg, files, tmp_path):
    out = tmp_path / 'q.onnx'
    exclude = ['*/stages.*', '/model/head/*']
    quantize(cfg, files / 'float.onnx', out, images=2, exclude=exclude)
    assert weights_in_8_bits(out) == {('Conv', 1)}


@pytest.mark.parametrize('per_channel', [True, False])
def test_scales_of_weights(per_channel, cfg, files, tmp_path):
    out = tmp_path / 'q.onnx'
    source = files / 'float.onnx'
    quantize(
        cfg, source, out, images=1, kinds=['conv'], per_channel=per_channel
    )
    weights = {w.name: w for w in onnx.load(out).graph.initializer}
    scales = [
        weights[node.input[1]].dims
        for node in onnx.load(out).graph.node
        if node.op_type == 'DequantizeLinear'
        and len(getattr(weights.get(node.input[0]), 'dims', ())) == 4
    ]
    assert scales and all(bool(dims) == per_channel for dims in scales)


def test_methods_choose_other_ranges(cfg, files, tmp_path):
    x = np.random.default_rng(0).standard_normal((1, 3, 64, 64))
    outputs = []
    for method in ('minmax', 'entropy', 'percentile'):
        out = tmp_path / f'{method}.onnx'
        quantize(cfg, files / 'float.onnx', out, 3, method, ['conv'])
        inputs = dict(input=x.astype(np.float32))
        outputs.append(open_session(out).run(None, inputs)[0])
    assert not np.array_equal(outputs[0], outputs[1])
    assert not np.array_equal(outputs[0], outputs[2])


def test_images_are_training_data_in_the_pipeline_of_the_test(
    cfg, files, digit_scenes
):
    file = OnnxModel(files / 'float.onnx')
    cfg.train_dataloader.dataset = dict(
        type='RepeatDataset', times=2, dataset=cfg.train_dataloader.dataset
    )
    images = TrainingImages(cfg, file, 100)
    paths = (digit_scenes / 'crops' / 'train').rglob('*.png')
    known = [file._prepare(read_image(str(path)))[0] for path in paths]
    assert len(images) == len(known)
    read = []
    while (inputs := images.get_next()) is not None:
        read.append(inputs['input'])
    assert len(read) == len(known)
    for values in known:
        assert any(np.allclose(values, one, atol=1e-6) for one in read)
    # Drawn from all classes, and the same in every call.
    again = TrainingImages(cfg, file, 3)
    assert len(again) == 3
    assert np.array_equal(again.get_next()['input'], read[0])
    assert not np.allclose(read[0], known[0], atol=1e-6)


@pytest.mark.parametrize('toolbox', ['mmdet', 'mmseg'])
def test_images_of_the_other_toolboxes(toolbox, digit_scenes):
    cfg = load_small(toolbox, digit_scenes)
    classes = {
        'mmdet': cfg.train_dataloader.dataset.metainfo.classes,
        'mmseg': ('background', *map(str, range(10))),
    }[toolbox]
    file = SimpleNamespace(
        path='made.onnx',
        task=dict(mmdet='detection', mmseg='segmentation')[toolbox],
        classes=classes,
        require_size=lambda size: None,
    )
    inputs = TrainingImages(cfg, file, 2).get_next()
    assert inputs['input'].dtype == np.float32
    assert inputs['input'].shape[:2] == (1, 3)
    if toolbox == 'mmdet':
        inner = inputs['image_size']
        assert (inner <= inputs['input'].shape[2:]).all()
        assert inner.dtype == np.int64


def test_a_detector(digit_scenes, tmp_path):
    cfg = load_small('mmdet', digit_scenes)
    cfg.model = retinanet().model
    cfg.model.bbox_head.num_classes = 10
    network = load_network(cfg, save_sure_weights(cfg, tmp_path))
    source, out = tmp_path / 'float.onnx', tmp_path / 'q.onnx'
    export(network, source, (192, 256), dynamic=True)
    done = quantize(cfg, source, out, images=2)
    before, after = map(int, re.findall(r'\d+', done.change))
    assert done.change == f'{before} objects before, {after} after'
    assert before > 20 and abs(after - before) < before / 4
    picture = next((digit_scenes / 'scenes' / 'images').rglob('*.png'))
    counts = [
        len(OnnxModel(path).predict(read_image(str(picture))).labels)
        for path in (source, out)
    ]
    assert abs(counts[1] - counts[0]) < counts[0] / 4


def _of_mmseg(cfg):
    cfg.default_scope = 'mmseg'


def _without_training(cfg):
    cfg.train_dataloader = None


def _without_data(cfg):
    cfg.train_dataloader.dataset.data_root = 'gone'


def _other_classes(cfg):
    names = [f'class {i}' for i in range(10)]
    cfg.train_dataloader.dataset.metainfo = dict(classes=names)


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(images=0), 'images=0 must be at least 1'),
        (dict(method='mean'), "method must be one of .*, got 'mean'"),
        (dict(kinds=['Conv']), "kinds must be one of .*, got 'Conv'"),
        (dict(kinds=[]), 'leave no operator'),
        (dict(exclude=['*']), 'leave no operator'),
        (dict(exclude=['/gone']), "exclude='/gone' is the name of no op"),
        (dict(path='half.onnx'), 'is in float16: export it without --half'),
        (dict(path='int8.onnx'), 'is quantized already'),
        (dict(path='gone.onnx'), 'does not exist'),
        (dict(out='float.onnx'), 'exists, and would be overwritten'),
        (dict(change=_of_mmseg), 'is for classification, and the config for'),
        (dict(change=_without_training), 'has no train_dataloader'),
        (dict(change=_without_data), 'of train_dataloader does not exist'),
        (dict(change=_other_classes), "training data of the config 'class 0'"),
    ],
)
def test_what_cannot_be_is_refused(options, message, cfg, files, tmp_path):
    options = dict(path='float.onnx', out=tmp_path / 'q.onnx') | options
    options.pop('change', lambda cfg: None)(cfg)
    for key in ('path', 'out'):
        options[key] = files / options[key]
    with pytest.raises(ConfigError, match=message):
        quantize(cfg, **options)
    assert not (tmp_path / 'q.onnx').exists()


def test_the_tool(files, tmp_path, digit_scenes, call_tool, capsys):
    arguments = [
        *('deployment/quantize_onnx.py', ROOT / DEMO['mmpretrain']),
        *(files / 'float.onnx', '--out', 'q.onnx', '--images', 3),
        *('--kinds', 'conv', '--per-channel'),
        *('--cfg-options', *small_data('mmpretrain', digit_scenes)),
    ]
    call_tool(*arguments, cwd=tmp_path)
    said = capsys.readouterr().out.splitlines()[-5:]
    assert said[0] == 'q.onnx: calibrated on 3 images'
    assert said[1].startswith('operators on 8-bit integers: ')
    assert ' MB -> ' in said[2] and ' ms -> ' in said[3]
    assert said[4].startswith('largest relative difference ')
    told = OnnxModel(tmp_path / 'q.onnx').metadata['quantized']
    assert told['per_channel'] is True and told['kinds'] == ['conv']
    with pytest.raises(SystemExit) as end:
        call_tool(*arguments, cwd=tmp_path)
    assert end.value.code == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("quantize_onnx.py: error: 'q.onnx' exists")
