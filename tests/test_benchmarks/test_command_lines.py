# Copyright (c) mmfft authors. All rights reserved.
"""The benchmarks run and report results; the tests judge no time."""

import argparse

import pytest
import torch

from benchmarks import backbones, mixers, mmcv_ops, op, profile, report
from mmfft.mmcv_ops import describe
from mmfft.ops import dispatch

QUICK = ['--device', 'cpu', '--rounds', '1']


def rows_of(path):
    environment, rows = report.read(path)
    assert environment['threads'] == torch.get_num_threads()
    for row in rows:
        assert row['ms'] >= row['fastest_ms'] > 0
        assert row['memory'] > 0
    return rows


def test_op(tmp_path, capsys):
    options = ['--sizes', '32x48', '--batch', '2', '--stages', '2']
    assert op.main([*QUICK, *options, '--out', str(tmp_path)]) == 0
    rows = rows_of(tmp_path / 'op.jsonl')
    names = {'plain', 'mmfft', 'mmfft fft', 'mmfft matmul', 'mmfft export'}
    assert {row['name'] for row in rows} == {*names, 'floor'}
    assert {(row['mode'], row['grid']) for row in rows} == {
        ('infer', '4x6'),
        ('train', '4x6'),
    }
    for row in rows:
        if row['name'] == 'plain':
            assert row['speed'] == row['memory_ratio'] == 1
        if row['name'] in names:
            of = op.NAMES if row['mode'] == 'train' else ['y']
            assert all(0 < row[f'error_{key}'] < 1e-6 for key in of)
    assert (tmp_path / 'op.png').stat().st_size > 0
    assert '4x6' in capsys.readouterr().out


def test_the_floor_copies_as_much_as_a_layer_moves():
    x = torch.randn(2, 3, requires_grad=True)
    grad = torch.randn(2, 3)
    y = op.copy(x, None, None)
    [found] = torch.autograd.grad(y, x, grad)
    assert y.data_ptr() != x.data_ptr()
    assert found.data_ptr() != grad.data_ptr()
    assert torch.equal(y, x) and torch.equal(found, grad)


def test_op_measures_the_contenders_that_are_named(tmp_path):
    options = ['--sizes', '32', '--batch', '1', '--stages', '1']
    options += ['--contenders', 'mmfft fft', 'mmfft rows']
    assert op.main([*QUICK, *options, '--out', str(tmp_path)]) == 0
    rows = rows_of(tmp_path / 'op.jsonl')
    assert {row['name'] for row in rows} == {'mmfft fft'}


def test_mixers(tmp_path):
    options = ['--sizes', '32x48', '--batch', '1', '--stages', '2', '3']
    assert mixers.main([*QUICK, *options, '--out', str(tmp_path)]) == 0
    names = ['plain DynamicFilter', 'DynamicFilter', 'SepConv']
    assert [
        (row['mode'], row['grid'], row['channels'], row['name'])
        for row in rows_of(tmp_path / 'mixers.jsonl')
    ] == [
        (mode, grid, channels, name)
        for mode in ('infer', 'train')
        for grid, channels, last in (
            ('4x6', 128, []),
            ('2x3', 320, ['Attention']),
        )
        for name in names + last
    ]


def test_mixers_have_the_shape_of_their_input():
    x = torch.randn(1, 5, 4, mixers.DIMS[2])
    for mixer in mixers.mixers_of(3, (5, 4)).values():
        assert mixer(x).numel() == x.numel()


def test_profile(tmp_path, capsys):
    options = ['--models', 'gfnet-h-ti', '--sizes', '64', '--batch', '1']
    options += ['--mode', 'infer', '--out', str(tmp_path)]
    assert profile.main([*QUICK, *options]) == 0
    _, rows = report.read(tmp_path / 'profile.jsonl')
    assert len(rows) == profile.LONGEST
    times = [row['ms'] for row in rows]
    assert times == sorted(times, reverse=True)
    assert 0.5 < sum(row['share'] for row in rows) <= 1
    launches = {row['kernel']: row['launches'] for row in rows}
    assert launches['mmfft::spectral_filter'] == 3 + 3 + 10 + 3
    with pytest.raises(SystemExit):
        profile.main(['--rounds', '0'])
    assert '--rounds 0: must be at least 1' in capsys.readouterr().err


def test_backbones(tmp_path):
    models = ['plain dfformer_s18', 'dfformer_s18', 'convformer_s18']
    options = ['--models', *models, '--sizes', '64', '--batch', '1']
    backbones.main(
        [*QUICK, *options, '--mode', 'infer', '--out', str(tmp_path)]
    )
    rows = rows_of(tmp_path / 'backbones.jsonl')
    assert [row['name'] for row in rows] == models
    for row in rows:
        assert row['images_per_second'] == pytest.approx(1e3 / row['ms'])
    for key in ('images_per_second', 'memory'):
        assert (tmp_path / f'backbones_{key}.png').stat().st_size > 0


def test_backbones_compiled(tmp_path, monkeypatch):
    """Compiled models themselves are tested in test_models/test_compile.py."""
    compiled = []

    def compile(run, **options):
        compiled.append(options)
        return run

    monkeypatch.setattr(torch, 'compile', compile)
    models = ['plain gfnet-h-ti', 'gfnet-h-ti']
    options = ['--models', *models, '--sizes', '64', '--batch', '1']
    backbones.main(
        [*QUICK, *options, '--compile', '--mode', 'train']
        + ['--out', str(tmp_path)]
    )
    rows = rows_of(tmp_path / 'backbones.jsonl')
    assert [row['name'] for row in rows] == [*models, 'gfnet-h-ti, compiled']
    assert rows[0]['speed'] == rows[0]['memory_ratio'] == 1
    assert all('speed' in row for row in rows)
    assert compiled == [dict(fullgraph=True, dynamic=False, mode='default')]


def test_on_a_gpu_our_models_run_with_the_kernels_too(monkeypatch):
    models = ['plain dfformer_s18', 'dfformer_s18', 'convformer_s18']
    eager, compiled = backbones.variants(models, torch.device('cuda'))
    assert eager == [*models[:2], 'dfformer_s18, triton', models[2]]
    assert compiled == [
        'dfformer_s18, compiled',
        'dfformer_s18, triton, compiled',
        'convformer_s18, compiled',
    ]
    assert backbones.baseline(compiled[1]) == 'plain dfformer_s18'
    assert backbones.variants(models, torch.device('cpu'))[0] == models
    monkeypatch.setattr(dispatch, '_WARNED', set())
    forced = []
    features = backbones.features
    monkeypatch.setattr(
        backbones,
        'features',
        lambda *args: forced.append(dispatch._forced) or features(*args),
    )
    args = argparse.Namespace(
        device='cpu', dtype='float32', channels_last=False
    )
    case = backbones.Case((32, 32), 1, False, args)
    with pytest.warns(UserWarning, match='is forced'):
        case.calls('cdfformer_s18, triton')[0]()
    case.calls('cdfformer_s18')[0]()
    assert forced == ['triton', None]


def test_mmcv_ops(tmp_path, capsys):
    mmcv_ops.main([*QUICK, '--boxes', '20', '--out', str(tmp_path)])
    rows = report.read(tmp_path / 'mmcv_ops.jsonl')[1]
    # Compiled operators may need no memory beside that of their arguments.
    assert all(row['ms'] > 0 for row in rows)
    assert {(row['mode'], row['op']) for row in rows} == {
        *((mode, 'roi_align') for mode in ('infer', 'train')),
        *(('infer', op) for op in mmcv_ops.ONLY_BOXES),
    }
    kind = describe().partition(' ')[0]
    assert {row['name'] for row in rows} == {'light', kind}
    assert 'roi_align' in capsys.readouterr().out
