# Copyright (c) mmfft authors. All rights reserved.
import math

import numpy as np
import onnx
import pytest
import torch
from config_files import load
from onnx import TensorProto, helper
from random_weights import save_random_weights

from mmfft.backbones import CDFFormer, DFFormer, GFFormer, GFNet, GFNetPyramid
from mmfft.deploy import (
    Network,
    check_graph,
    check_shapes,
    compare,
    export,
    load_network,
    open_session,
)
from mmfft.errors import ConfigError
from mmfft.version import __version__

TINY = dict(embed_dims=[8, 8, 8, 8], depths=[1, 1, 1, 1])
BACKBONES = {
    'dfformer': (DFFormer, dict(arch=TINY)),
    'dfformer-bilinear': (DFFormer, dict(arch=TINY, filter_resize='bilinear')),
    'dfformer-kernel': (DFFormer, dict(arch=TINY, filter_resize='kernel')),
    'dfformer-spectrum': (DFFormer, dict(arch=TINY, filter_resize='spectrum')),
    'dfformer-zero': (DFFormer, dict(arch=TINY, boundary='zero')),
    'cdfformer': (CDFFormer, dict(arch=TINY, out_indices=(1, 2))),
    'gfformer': (GFFormer, dict(arch=TINY)),
    'afno': (DFFormer, dict(arch=TINY, token_mixers=('AFNO2D',) * 4)),
    'gfnet': (GFNet, dict(arch=dict(embed_dim=8, depth=2), patch_size=8)),
    'gfnet-reflect': (
        GFNet,
        dict(
            arch=dict(embed_dim=8, depth=2), patch_size=8, boundary='reflect'
        ),
    ),
    'gfnet-h': (GFNetPyramid, dict(arch=dict(**TINY, layer_scale=0.5))),
}
SEG = 'configs/cdfformer/cdfformer-s18_fpn_8xb4-40k_ade20k-512x512.py'


class Features(Network):
    """Only a backbone."""

    def named_outputs(self, image):
        return {f'feature_{i}': x for i, x in enumerate(self.model(image))}


def build(name):
    cls, options = BACKBONES[name]
    torch.manual_seed(0)
    defaults = dict(out_indices=(0, 1), img_size=64)
    return Features(cls(**{**defaults, **options}), dict(mean=[1, 2, 3]))


@pytest.mark.parametrize('name', BACKBONES)
def test_a_dynamic_file_takes_any_size(name, tmp_path, infer_shapes):
    network = build(name)
    model = export(network, tmp_path / 'model.onnx', (64, 64), dynamic=True)
    session = open_session(tmp_path / 'model.onnx')
    shapes = check_shapes((64, 64), dynamic=True)
    for shape in [*shapes, (2, 48, 130), (1, 9, 200)]:
        assert compare(session, network, shape) < 1e-5, shape
    # The sizes of extended maps are too much for that tool.
    if 'boundary' not in BACKBONES[name][1]:
        infer_shapes(model)


@pytest.mark.parametrize(
    'name',
    [
        'cdfformer',
        'dfformer-bilinear',
        'dfformer-kernel',
        'dfformer-spectrum',
        'dfformer-zero',
        'gfnet',
        'gfnet-reflect',
    ],
)
@pytest.mark.parametrize('size', [(64, 64), (45, 70)])
def test_a_static_file_takes_one_size(name, size, tmp_path, infer_shapes):
    network = build(name)
    model = export(network, tmp_path / 'model.onnx', size)
    session = open_session(tmp_path / 'model.onnx')
    assert compare(session, network, (1, *size)) < 1e-5
    assert session.get_inputs()[0].shape == [1, 3, *size]
    inferred = infer_shapes(model)
    for value in [*inferred.graph.value_info, *inferred.graph.output]:
        for dim in value.type.tensor_type.shape.dim:
            assert dim.HasField('dim_value'), value.name
    # What does not depend on the image was computed beforehand.
    given = {weight.name for weight in model.graph.initializer}
    assert all(set(node.input) - given for node in model.graph.node)


def test_what_the_file_says(tmp_path):
    path = tmp_path / 'new' / 'model.onnx'
    export(build('dfformer'), path, (64, 64), dynamic=True, opset=18)
    model = onnx.load(path)
    assert {entry.domain: entry.version for entry in model.opset_import} == {
        '': 18
    }
    assert {p.key: p.value for p in model.metadata_props} == {
        'mmfft_version': __version__,
        'task': 'features',
        'mean': '[1, 2, 3]',
        'input_size': '[64, 64]',
        'dynamic': 'true',
    }
    session = open_session(path)
    assert [x.name for x in session.get_inputs()] == ['input']
    assert session.get_inputs()[0].shape == ['batch', 3, 'height', 'width']
    assert [x.name for x in session.get_outputs()] == [
        'feature_0',
        'feature_1',
    ]


@pytest.mark.parametrize('name', ['cdfformer', 'gfnet-h', 'afno'])
def test_half_is_inside_alone(name, tmp_path):
    network = build(name)
    model = export(
        network, tmp_path / 'model.onnx', (64, 64), dynamic=True, half=True
    )
    weights = {
        w.data_type for w in model.graph.initializer if len(w.dims) == 4
    }
    assert weights == {TensorProto.FLOAT16}
    inferred = onnx.shape_inference.infer_shapes(model).graph
    types = {v.name: v.type.tensor_type.elem_type for v in inferred.value_info}
    computed = {
        types[n.output[0]] for n in inferred.node if n.op_type == 'Conv'
    }
    assert computed == {TensorProto.FLOAT16}
    session = open_session(tmp_path / 'model.onnx')
    tensors = [*session.get_inputs(), *session.get_outputs()]
    assert {tensor.type for tensor in tensors} == {'tensor(float)'}
    for shape in [(1, 64, 64), (2, 49, 70)]:
        assert 1e-6 < compare(session, network, shape) < 1e-2
    # What was exported is a copy.
    assert {p.dtype for p in network.parameters()} == {torch.float32}


def test_a_segmentor_at_the_resolution_of_the_image(tmp_path):
    cfg = load(SEG)
    cfg.model.backbone.update(arch=TINY, img_size=64)
    cfg.model.neck.update(in_channels=[8] * 4, out_channels=8)
    cfg.model.decode_head.update(
        in_channels=[8] * 4, channels=8, num_classes=3
    )
    network = load_network(cfg, save_random_weights(cfg, tmp_path))
    before = str(network)
    export(network, tmp_path / 'model.onnx', (64, 64), dynamic=True)
    assert str(network) == before
    session = open_session(tmp_path / 'model.onnx')
    for shape in [(1, 64, 64), (2, 49, 70), (1, 65, 39)]:
        assert compare(session, network, shape) < 1e-5, shape
    x = np.zeros((2, 3, 49, 70), np.float32)
    assert session.run(None, {'input': x})[0].shape == (2, 3, 49, 70)


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(size=(64, 64), opset=16), 'opset=16 must be from 17 to 20'),
        (dict(size=(64, 0)), 'must be positive'),
    ],
)
def test_what_cannot_be_is_refused(options, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        export(build('gfnet'), tmp_path / 'model.onnx', **options)


@pytest.mark.parametrize('opset', [17, 20])
@pytest.mark.parametrize(
    'node',
    [
        helper.make_node('DFT', ['x'], ['y'], axis=1),
        helper.make_node('Gelu', ['x'], ['y'], domain='com.microsoft'),
    ],
)
def test_a_graph_with_more_than_the_standard_is_refused(opset, node):
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 8, 2])
        for name in 'xy'
    ]
    branch = helper.make_graph([node], 'branch', [], values[1:])
    condition = helper.make_tensor_value_info('c', TensorProto.BOOL, [])
    choice = helper.make_node(
        'If', ['c'], ['y'], then_branch=branch, else_branch=branch
    )
    opsets = [
        helper.make_opsetid('', opset),
        helper.make_opsetid('com.microsoft', 1),
    ]
    for nodes, inputs in [
        ([node], values[:1]),
        ([choice], [values[0], condition]),
    ]:
        graph = helper.make_graph(nodes, 'graph', inputs, values[1:])
        model = helper.make_model(graph, opset_imports=opsets)
        with pytest.raises(ConfigError, match=node.op_type):
            check_graph(model)


def test_shapes_to_check():
    assert check_shapes((64, 96), dynamic=False) == [(1, 64, 96)]
    shapes = check_shapes((64, 96), dynamic=True)
    assert len(set(shapes)) >= 5
    for axis in range(3):
        assert {shape[axis] % 2 for shape in shapes} == {0, 1}


def test_differences_that_must_not_pass():
    one, nan = np.ones((1, 2)), np.array([[1.0, np.nan]])
    difference = build('gfnet').difference
    assert difference([one], [one]) == 0
    assert difference([2 * one, one], [one, one]) == 1
    assert difference([np.ones((1, 1))], [one]) == math.inf
    assert math.isnan(difference([one, nan], [one, one]))
    assert math.isnan(difference([nan, one], [one, one]))
