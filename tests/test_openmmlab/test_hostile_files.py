# Copyright (c) mmfft authors. All rights reserved.
"""Every way from a user to a file, after ``harden()``.

See :mod:`hostile_payloads` for what the files would do.
"""

import pickle
import subprocess
import sys
from types import SimpleNamespace

import pytest
from checkpoint_forms import Calls
from conftest import ROOT, small_data
from hostile_payloads import WRITERS, write_setstate
from mmengine.fileio import dump
from mmengine.logging import HistoryBuffer
from mmengine.runner import checkpoint as mmengine_checkpoint
from mmengine.runner import load_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn

from mmfft.backbones import CDFFormer
from mmfft.checkpoints import harden, load_checkpoint_file
from mmfft.checkpoints.pickles import load_predictions
from mmfft.engine.hooks.check_loss_hook import last_finite_checkpoint
from mmfft.errors import ConfigError
from mmfft.openmmlab.convert import convert_file

TINY = dict(embed_dims=[8, 8, 8, 8], depths=[1, 1, 1, 1])
DEMO = ROOT / 'configs' / 'demo'
CLS = DEMO / 'cdfformer-nano_1xb32-6e_digit-crops.py'


def by_history(trace):
    """From an allowed class to what its functions can reach."""
    start = Calls(getattr, HistoryBuffer, '__init__')
    reach = Calls(Calls(getattr, start, '__globals__').__class__, trace)
    return [start, reach]


@pytest.mark.parametrize('write', WRITERS, ids=lambda w: w.__name__)
def test_mmengines_history_is_no_way_in(write, trace, tmp_path):
    path = tmp_path / 'hostile.pth'
    write(path, by_history(str(trace)))
    with pytest.raises(ConfigError, match='could run code'):
        load_checkpoint_file(str(path))
    dump([dict(img_id=1, extra=by_history(str(trace)))], f'{path}.pkl')
    with pytest.raises(ConfigError, match='not a dump of predictions'):
        load_predictions(f'{path}.pkl')


def test_init_cfg(hostile, hardened):
    init_cfg = dict(type='Pretrained', checkpoint=str(hostile))
    with pytest.raises(ConfigError, match='could run code'):
        CDFFormer(TINY, img_size=32, init_cfg=init_cfg).init_weights()
    init_cfg['prefix'] = 'backbone.'
    with pytest.raises(ConfigError, match='could run code'):
        CDFFormer(TINY, img_size=32, init_cfg=init_cfg).init_weights()


def test_load_checkpoint_into_any_model(hostile, hardened):
    with pytest.raises(ConfigError, match='could run code'):
        load_checkpoint(nn.Linear(2, 2), str(hostile))


def test_conversion(hostile, tmp_path):
    with pytest.raises(ConfigError, match='could run code'):
        convert_file(str(hostile), str(tmp_path / 'converted.pth'))
    assert not (tmp_path / 'converted.pth').exists()


def test_the_search_for_a_good_checkpoint(hostile):
    assert last_finite_checkpoint(hostile.parent) is None


@pytest.mark.parametrize('way', ['resume', 'load_from', 'test'])
def test_the_command_lines(
    way, hostile, digit_scenes, tmp_path, call_tool, capsys
):
    ways = dict(
        resume=('train.py', CLS, '--resume', hostile),
        load_from=('train.py', CLS),
        test=('test.py', CLS, hostile),
    )
    options = [f'load_from={hostile}'] if way == 'load_from' else []
    with pytest.raises(SystemExit) as end:
        call_tool(
            *ways[way],
            '--work-dir',
            tmp_path,
            '--cfg-options',
            *options,
            *small_data('mmpretrain', digit_scenes),
            cwd=tmp_path,
        )
    assert end.value.code == 2
    assert 'could run code' in capsys.readouterr().err


def test_a_download(server, cache, hardened):
    with pytest.raises(ConfigError, match='could run code'):
        CheckpointLoader.load_checkpoint(f'{server}/hostile.pth')


@pytest.mark.parametrize(
    ('scheme', 'table'),
    [
        ('torchvision', 'get_torchvision_models'),
        ('modelzoo', 'get_torchvision_models'),
        ('open-mmlab', 'get_external_models'),
        ('openmmlab', 'get_external_models'),
        ('mmcls', 'get_mmcls_models'),
    ],
)
def test_the_names_that_mmengine_knows(
    scheme, table, server, cache, monkeypatch, hardened
):
    models = {'net': f'{server}/hostile.pth'}
    monkeypatch.setattr(mmengine_checkpoint, table, lambda: models)
    with pytest.raises(ConfigError, match='could run code'):
        CheckpointLoader.load_checkpoint(f'{scheme}://net')


@pytest.mark.parametrize('scheme', ['s3', 'petrel', 'cluster:s3'])
def test_object_storage(scheme, hostile, monkeypatch, hardened):
    backend = SimpleNamespace(get=lambda name: hostile.read_bytes())
    monkeypatch.setattr(
        mmengine_checkpoint, 'get_file_backend', lambda *a, **k: backend
    )
    with pytest.raises(pickle.UnpicklingError):
        CheckpointLoader.load_checkpoint(f'{scheme}://bucket/hostile.pth')


@pytest.mark.parametrize('name', ['{path}', 's3://bucket/hostile.pth'])
def test_the_getattr_of_mmengines_list(name, tmp_path, trace, monkeypatch):
    path = tmp_path / 'hostile.pth'
    write_setstate(path, trace)
    backend = SimpleNamespace(get=lambda name: path.read_bytes())
    monkeypatch.setattr(
        mmengine_checkpoint, 'get_file_backend', lambda *a, **k: backend
    )
    harden()
    listed = getattr(mmengine_checkpoint, 'get_torch_safe_globals', list)
    asked = []
    monkeypatch.setattr(
        mmengine_checkpoint,
        'get_torch_safe_globals',
        lambda: asked.append(1) or listed(),
        raising=False,
    )
    with pytest.raises(Exception, match='not of a History|could run code'):
        CheckpointLoader.load_checkpoint(name.format(path=path))
    # Which of two with one name PyTorch takes hangs on their addresses.
    assert not asked


def test_that_list_does_run_it(tmp_path):
    """Without us: so that the test above can fail."""
    write_setstate(tmp_path / 'hostile.pth', tmp_path / 'trace')
    code = (
        'import sys, torch\n'
        'from mmengine.logging import HistoryBuffer\n'
        'torch.serialization.add_safe_globals([getattr, HistoryBuffer])\n'
        'torch.load(sys.argv[1], weights_only=True)\n'
    )
    subprocess.run(
        [sys.executable, '-c', code, tmp_path / 'hostile.pth'], check=True
    )
    assert (tmp_path / 'trace').exists()


def test_mmengine_has_no_other_scheme():
    """All are above except ``pavi``, whose package is not available."""
    assert set(CheckpointLoader._schemes) == {
        *('', 'http://', 'https://', 'mmfft://', 'pavi://', 'mmcls://'),
        *('modelzoo://', 'torchvision://', 'open-mmlab://', 'openmmlab://'),
        *(r'(\S+\:)?s3://', r'(\S+\:)?petrel://'),
    }


def test_timm(hostile):
    timm = pytest.importorskip('timm')
    import mmfft.timm_models

    with pytest.raises(Exception, match='[Ww]eights'):
        timm.create_model(
            'gfnet_ti',
            pretrained=True,
            pretrained_cfg_overlay=dict(file=str(hostile)),
        )
    with pytest.raises(Exception, match='[Ww]eights'):
        timm.create_model('gfnet_ti', checkpoint_path=str(hostile))
    assert mmfft.timm_models
