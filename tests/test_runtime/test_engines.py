# Copyright (c) mmfft authors. All rights reserved.
"""Each runtime computes what an ONNX file says, in float32."""

import json
import re
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mmfft.errors import ConfigError
from mmfft.runtime.engines import RUNTIMES, OpenVino, open_engine

runtimes = pytest.mark.parametrize('runtime', RUNTIMES)
SIDE = 64


@pytest.fixture(scope='module')
def weight():
    rng = np.random.default_rng(0)
    return rng.standard_normal((SIDE, SIDE)).astype(np.float32)


@pytest.fixture(scope='module')
def path(tmp_path_factory, weight):
    """``product = input @ weight`` and ``size = 2 * image_size``."""
    path = tmp_path_factory.mktemp('engines') / 'product.onnx'
    arrays = dict(
        weight=weight,
        two=np.array(2),
        image_size=np.array([1000, 1000]),
    )
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node('MatMul', ['input', 'weight'], ['product']),
            helper.make_node('Mul', ['image_size', 'two'], ['size']),
        ],
        'product',
        [
            value('input', TensorProto.FLOAT, ['rows', SIDE]),
            value('image_size', TensorProto.INT64, [2]),
        ],
        [
            value('product', TensorProto.FLOAT, ['rows', SIDE]),
            value('size', TensorProto.INT64, [2]),
        ],
        [numpy_helper.from_array(v, name) for name, v in arrays.items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8
    )
    helper.set_model_props(model, dict(task='é', mean='[1, 2.5]'))
    onnx.save(model, path)
    return path


def rows(count):
    rng = np.random.default_rng(count)
    return rng.standard_normal((count, SIDE)).astype(np.float32)


@runtimes
@pytest.mark.parametrize('form', ['path', 'content'])
def test_a_file_is_opened(path, weight, runtime, form):
    engine = open_engine(
        path if form == 'path' else path.read_bytes(), runtime, threads=1
    )
    assert engine.metadata == dict(task='é', mean='[1, 2.5]')
    assert json.loads(engine.metadata['mean']) == [1, 2.5]
    assert set(engine.inputs) >= {'input'}
    assert engine.outputs == ('product', 'size')
    for count in (1, 7, 2):
        x = rows(count)
        product, size = engine.run(None, dict(input=x))
        # As float32 does, and bfloat16 does not.
        np.testing.assert_allclose(product, x @ weight, atol=1e-4)
        assert size.tolist() == [2000, 2000] and size.dtype == np.int64


@runtimes
def test_what_may_be_left_out_is_heeded_if_given(path, runtime):
    engine = open_engine(path, runtime)
    inputs = dict(input=rows(1), image_size=np.array([3, 4]))
    (size,) = engine.run(['size'], inputs)
    assert size.tolist() == [6, 8]
    (size,) = engine.run(['size'], dict(input=rows(1)))
    assert size.tolist() == [2000, 2000]


@runtimes
def test_an_output_that_is_an_inner_tensor_too(runtime):
    """Its name is that of the output."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node('Neg', ['input'], ['/inner']),
            helper.make_node('Identity', ['/inner'], ['feature']),
            helper.make_node('Relu', ['/inner'], ['relu']),
        ],
        'inner',
        [value('input', TensorProto.FLOAT, [2])],
        [value(name, TensorProto.FLOAT, [2]) for name in ('feature', 'relu')],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8
    )
    engine = open_engine(model.SerializeToString(), runtime)
    assert engine.outputs == ('feature', 'relu')
    inputs = dict(input=np.array([-1, 2], np.float32))
    feature, relu = engine.run(None, inputs)
    assert feature.tolist() == [1, -2] and relu.tolist() == [1, 0]
    (feature,) = engine.run(['feature'], inputs)
    assert feature.tolist() == [1, -2]


@runtimes
def test_several_threads_may_call(path, weight, runtime):
    engine = open_engine(path, runtime)

    def is_right(count):
        x = rows(count % 9 + 1)
        (product,) = engine.run(['product'], dict(input=x))
        return np.allclose(product, x @ weight, atol=1e-4)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(is_right, range(200)))


@runtimes
def test_outputs_are_not_overwritten_by_the_next_call(path, weight, runtime):
    engine = open_engine(path, runtime)
    (first,) = engine.run(['product'], dict(input=rows(3)))
    engine.run(['product'], dict(input=rows(3) + 1))
    np.testing.assert_allclose(first, rows(3) @ weight, atol=1e-4)


def test_openvino_is_asked_for_the_precision(path, monkeypatch):
    import openvino

    asked = []
    compile_model = openvino.Core.compile_model

    def note(core, graph, device, settings):
        asked.append(settings)
        return compile_model(core, graph, device, settings)

    monkeypatch.setattr(openvino.Core, 'compile_model', note)
    open_engine(path, 'openvino')
    OpenVino(path, threads=1, precision='bf16')
    assert asked == [
        {'INFERENCE_PRECISION_HINT': 'f32'},
        {'INFERENCE_PRECISION_HINT': 'bf16', 'INFERENCE_NUM_THREADS': 1},
    ]


@runtimes
def test_what_cannot_be_opened(runtime, path, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="gone.onnx' does not exist"):
        open_engine(tmp_path / 'gone.onnx', runtime)
    (tmp_path / 'text.onnx').write_text('text')
    with pytest.raises(
        ConfigError, match=f'text.onnx. is not an ONNX file that {runtime} can'
    ):
        open_engine(tmp_path / 'text.onnx', runtime)
    with pytest.raises(ConfigError, match=f'the content .* {runtime} can'):
        open_engine(b'text', runtime)
    # Python takes None for a module that is not there.
    monkeypatch.setitem(sys.modules, runtime, None)
    with pytest.raises(
        ConfigError,
        match=f'runtime={runtime!r} cannot be imported .* pip install '
        f'{runtime}',
    ):
        open_engine(path, runtime)


def test_an_unknown_runtime(path):
    with pytest.raises(
        ConfigError,
        match=re.escape(
            "runtime must be one of ('onnxruntime', 'openvino'), got 'tflite'"
        ),
    ):
        open_engine(path, 'tflite')
