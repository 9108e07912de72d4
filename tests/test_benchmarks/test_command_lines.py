# Copyright (c) mmfft authors. All rights reserved.
"""The benchmarks run and report results; the tests judge no time."""

import json

import pytest
import torch

from benchmarks import backbones, mmcv_ops, op
from mmfft.mmcv_ops import describe

QUICK = ['--device', 'cpu', '--rounds', '1']


def rows_of(path):
    content = json.loads(path.read_text())
    assert content['environment']['threads'] == torch.get_num_threads()
    for row in content['rows']:
        assert row['seconds'] > 0
        assert row['memory'] > 0
    return content['rows']


def test_op(tmp_path, capsys):
    options = ['--sizes', '32x48', '--batch', '2', '--stages', '2']
    op.main([*QUICK, *options, '--out', str(tmp_path)])
    rows = rows_of(tmp_path / 'op.json')
    names = {'plain', 'mmfft', 'mmfft fft', 'mmfft matmul', 'floor'}
    assert {row['name'] for row in rows} == names
    assert {(row['mode'], row['grid']) for row in rows} == {
        ('infer', '4x6'),
        ('train', '4x6'),
    }
    for row in rows:
        if row['name'] == 'plain':
            assert row['speed'] == row['memory_ratio'] == 1
    assert (tmp_path / 'op.png').stat().st_size > 0
    assert '4x6' in capsys.readouterr().out


def test_backbones(tmp_path):
    models = ['plain dfformer_s18', 'dfformer_s18', 'convformer_s18']
    options = ['--models', *models, '--sizes', '64', '--batch', '1']
    backbones.main(
        [*QUICK, *options, '--mode', 'infer', '--out', str(tmp_path)]
    )
    rows = rows_of(tmp_path / 'backbones.json')
    assert [row['name'] for row in rows] == models
    for row in rows:
        assert row['images_per_second'] == pytest.approx(1 / row['seconds'])
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
    rows = rows_of(tmp_path / 'backbones.json')
    assert [row['name'] for row in rows] == [*models, 'gfnet-h-ti, compiled']
    assert rows[0]['speed'] == rows[0]['memory_ratio'] == 1
    assert all('speed' in row for row in rows)
    assert compiled == [dict(fullgraph=True, dynamic=False)]


def test_mmcv_ops(tmp_path, capsys):
    mmcv_ops.main([*QUICK, '--boxes', '20', '--out', str(tmp_path)])
    rows = json.loads((tmp_path / 'mmcv_ops.json').read_text())['rows']
    # Compiled operators may need no memory beside that of their arguments.
    assert all(row['seconds'] > 0 for row in rows)
    assert {(row['mode'], row['op']) for row in rows} == {
        *((mode, 'roi_align') for mode in ('infer', 'train')),
        *(('infer', op) for op in mmcv_ops.ONLY_BOXES),
    }
    kind = describe().partition(' ')[0]
    assert {row['name'] for row in rows} == {'light', kind}
    assert 'roi_align' in capsys.readouterr().out
