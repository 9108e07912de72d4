# Copyright (c) mmfft authors. All rights reserved.
"""HorNet-GF and the runtimes, side by side; the tests judge no time."""

import onnx
import pytest
import torch
from conftest import ROOT
from onnx import TensorProto, helper

from benchmarks import boundary, hornet, report, runtimes, valid_sizes

CONFIG = str(ROOT / runtimes.CONFIGS[0])


def test_hornet(tmp_path):
    options = ['--device', 'cpu', '--rounds', '1', '--batch', '1']
    assert hornet.main([*options, '--out', str(tmp_path)]) == 0
    _, rows = report.read(tmp_path / 'hornet.jsonl')
    assert {(row['grid'], row['channels']) for row in rows} == {
        ('14x14', 480),
        ('7x7', 992),
    }
    assert len(rows) == 2 * 2 * 2 * 2
    for row in rows:
        assert row['speed'] > 0 and row['memory_ratio'] > 0
        names = ('y', 'x') if row['mode'] == 'train' else ('y',)
        errors = [row[f'error_{name}'] for name in names]
        assert row['name'] == 'hornet' or all(0 < e < 1e-6 for e in errors)


def test_boundary(tmp_path, monkeypatch):
    tiny = dict(embed_dims=[4, 4, 4, 4], depths=[1, 1, 1, 1])
    monkeypatch.setitem(boundary.DFFormer.arch_zoo, 's18', tiny)
    options = ['--device', 'cpu', '--rounds', '1', '--batch', '1']
    options += ['--sizes', '48x33', '--out', str(tmp_path)]
    assert boundary.main(options) == 0
    _, rows = report.read(tmp_path / 'boundary.jsonl')
    assert len(rows) == 2 * (4 + 2) * 3
    assert {row['name'] for row in rows} == {'circular', 'zero', 'reflect'}
    assert {row['map'] for row in rows} >= {'12x8x4', 'CDFFormer'}
    for row in rows:
        assert row['speed'] > 0 and row['memory_ratio'] > 0


def test_valid_sizes(tmp_path, monkeypatch):
    tiny = dict(embed_dims=[4, 4, 4, 4], depths=[1, 1, 1, 1])
    monkeypatch.setattr(
        valid_sizes, 'BACKBONES', dict(tiny=(valid_sizes.DFFormer,))
    )
    monkeypatch.setitem(valid_sizes.DFFormer.arch_zoo, 'tiny', tiny)
    options = ['--device', 'cpu', '--rounds', '1', '--out', str(tmp_path)]
    assert valid_sizes.main([*options, '--sizes', '48x33', '33x40']) == 0
    _, rows = report.read(tmp_path / 'valid_sizes.jsonl')
    assert [row['mode'] for row in rows] == ['infer'] * 2 + ['train'] * 2
    assert {row['name'] for row in rows} == {'padded', 'valid sizes'}
    assert {row['images'] for row in rows} == {'48x33 33x40'}
    assert all(row['speed'] > 0 for row in rows)


@pytest.fixture
def mean(tmp_path):
    """Path of another file for the same images."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node('ReduceMean', ['input'], ['mean'], keepdims=0)],
        'mean',
        [value('input', TensorProto.FLOAT, [1, 3, 64, 64])],
        [value('mean', TensorProto.FLOAT, [])],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8
    )
    onnx.save(model, tmp_path / 'mean.onnx')
    return tmp_path / 'mean.onnx'


def test_runtimes(tmp_path, mean, monkeypatch, capsys):
    compiled = []
    monkeypatch.setattr(
        torch, 'compile', lambda run, **how: compiled.append(how) or run
    )
    threads = torch.get_num_threads()
    status = runtimes.main(
        ['--configs', CONFIG, '--rounds', '1', '--file', f'mean={mean}']
        + ['--out', str(tmp_path)]
    )
    torch.set_num_threads(threads)
    assert status == 0 and compiled == [dict(dynamic=False)]
    environment, rows = report.read(tmp_path / 'runtimes.jsonl')
    assert environment['threads'] == 1
    rows = {row['name']: row for row in rows}
    exact = ('eager', 'compiled', 'onnxruntime', 'openvino')
    files = ('onnxruntime, mean', 'openvino, mean')
    assert set(rows) - {runtimes.BFLOAT16} == {*exact, *files}
    assert (runtimes.BFLOAT16 in rows) == runtimes.has_bfloat16()
    for name, row in rows.items():
        assert row['image'] == '64x64' and row['speed'] > 0
        assert ('memory' in row) == (name in runtimes.PYTORCH)
        assert name not in exact or row['error_y'] < 1e-5
    assert 'openvino, mean' in capsys.readouterr().out


def test_a_runtime_that_is_wrong_is_a_failure(tmp_path, monkeypatch):
    monkeypatch.setattr(runtimes, 'TOLERANCE', 0)
    options = ['--configs', CONFIG, '--rounds', '1', '--skip-compiled']
    threads = torch.get_num_threads()
    assert runtimes.main([*options, '--out', str(tmp_path)]) == 1
    torch.set_num_threads(threads)


@pytest.mark.parametrize(
    'options, message',
    [
        (['--device', 'cuda'], 'the runtimes are those of a CPU'),
        (['--file', 'int8=gone.onnx'], "must be NAME=PATH of a file, got 'in"),
        (['--file', __file__], 'must be NAME=PATH of a file'),
        (['--file', f'a={__file__}'], 'name its config with --configs'),
        (['--configs', 'gone.py'], "'gone.py' does not exist"),
    ],
)
def test_wrong_calls(options, message, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        runtimes.main([*options, '--out', str(tmp_path)])
    assert end.value.code == 2
    assert message in capsys.readouterr().err
