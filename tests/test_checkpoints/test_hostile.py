# Copyright (c) mmfft authors. All rights reserved.
"""Files that would run code, given at every place that reads a user's file.

Each payload leaves a trace where it runs, so that a loader that runs it is
found out, whether it raises afterwards or not.
"""

import builtins
import functools
import hashlib
import os
import pickle
import re
import threading
import zipfile
from http.server import HTTPServer, SimpleHTTPRequestHandler
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import ROOT, small_data
from mmengine.fileio import dump
from mmengine.logging import HistoryBuffer
from mmengine.runner import checkpoint as mmengine_checkpoint
from mmengine.runner import load_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn

import mmfft.checkpoints.loading
from mmfft.backbones import CDFFormer
from mmfft.checkpoints import load_checkpoint_file
from mmfft.checkpoints.convert import convert_file
from mmfft.checkpoints.pickles import load_predictions
from mmfft.engine.check_loss import last_finite_checkpoint
from mmfft.errors import ConfigError

TINY = dict(embed_dims=[8, 8, 8, 8], depths=[1, 1, 1, 1])
DEMO = ROOT / 'configs' / 'demo'
CLS = DEMO / 'cdfformer-nano_1xb64-8e_digit-crops.py'


class Calls:
    """Pickles as a call."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call

    def __call__(self):
        """The pickler wants it; what it pickles to is called instead."""


def by_eval(trace):
    return Calls(eval, f'open({trace!r}, "w").close()')


def by_exec(trace):
    return Calls(exec, f'open({trace!r}, "w").close()')


def by_system(trace):
    return Calls(os.system, f'touch {trace}')


def by_open(trace):
    return Calls(open, trace, 'w')


def by_partial(trace):
    return Calls(functools.partial(os.mkdir, trace))


def by_numpy(trace):
    return Calls(np.save, trace, np.ones(1))


def by_getattr(trace):
    """The name that is on the allow-list, used for something else."""
    module = Calls(__import__, 'os')
    return Calls(Calls(getattr, module, 'mkdir'), trace)


def by_history(trace):
    """From an allowed class to what its functions can reach."""
    start = Calls(getattr, HistoryBuffer, '__init__')
    reach = Calls(Calls(getattr, start, '__globals__').__class__, trace)
    return [start, reach]


def by_inner_load(trace):
    """A storage that holds a pickle of its own."""
    inner = pickle.dumps(by_eval(trace))
    return Calls(torch.storage._load_from_bytes, inner)


def by_module(trace):
    """A module, which PyTorch could only make by running its class."""
    module = nn.Linear(1, 1)
    module.trace = by_eval(trace)
    return module


PAYLOADS = (
    by_eval,
    by_exec,
    by_system,
    by_open,
    by_partial,
    by_numpy,
    by_getattr,
    by_history,
    by_inner_load,
    by_module,
)


@pytest.fixture
def trace(tmp_path):
    path = tmp_path / 'trace'
    yield path
    assert not path.exists(), 'the file was executed'


def weights():
    return CDFFormer(TINY, img_size=32).state_dict()


def write_zip(path, payload):
    torch.save(dict(state_dict=weights(), meta={}, extra=payload), path)


def write_legacy(path, payload):
    torch.save(
        dict(state_dict=weights(), extra=payload),
        path,
        _use_new_zipfile_serialization=False,
    )


def write_plain(path, payload):
    with open(path, 'wb') as file:
        pickle.dump(dict(state_dict={}, extra=payload), file)


def write_in_tensor(path, payload):
    """As an attribute that a tensor carries along."""
    state = weights()
    name, tensor = next(iter(state.items()))
    tensor = tensor.clone()
    tensor.note = payload
    torch.save(dict(state_dict={**state, name: tensor}), path)


WRITERS = (write_zip, write_legacy, write_plain, write_in_tensor)


@pytest.mark.parametrize('write', WRITERS, ids=lambda w: w.__name__)
@pytest.mark.parametrize('payload', PAYLOADS, ids=lambda p: p.__name__)
def test_no_form_of_a_checkpoint_runs(payload, write, trace, tmp_path):
    path = tmp_path / 'hostile.pth'
    write(path, payload(str(trace)))
    with pytest.raises(ConfigError, match='could run code|not a PyTorch'):
        load_checkpoint_file(str(path))


@pytest.mark.parametrize('payload', PAYLOADS[:-3], ids=lambda p: p.__name__)
def test_the_payloads_do_run(payload, tmp_path):
    """Without us: so that the test above can fail."""
    trace = tmp_path / 'trace'
    try:
        pickle.loads(pickle.dumps(payload(str(trace))))
    except Exception:
        assert payload is by_numpy
    assert trace.exists() or (tmp_path / 'trace.npy').exists()


def test_a_script_in_a_checkpoint_is_not_loaded(tmp_path):
    path = str(tmp_path / 'script.pth')
    torch.jit.script(nn.Linear(2, 2)).save(path)
    with pytest.raises(ConfigError, match='script'):
        load_checkpoint_file(path)


# ------------------------------------------- every way from a user to a file


@pytest.fixture
def hostile(tmp_path, trace):
    path = tmp_path / 'files' / 'hostile.pth'
    path.parent.mkdir()
    write_zip(path, by_eval(str(trace)))
    return path


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """PyTorch's cache of downloads, empty."""
    monkeypatch.setattr(torch.hub, '_hub_dir', str(tmp_path / 'hub'))
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    folder = tmp_path / 'hub' / 'checkpoints'
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def server(hostile):
    """Address of a server of the hostile file's folder."""
    handler = functools.partial(
        SimpleHTTPRequestHandler, directory=hostile.parent
    )
    handler.log_message = lambda *args: None
    with HTTPServer(('127.0.0.1', 0), handler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{web.server_port}'
        web.shutdown()


def test_init_cfg(hostile):
    init_cfg = dict(type='Pretrained', checkpoint=str(hostile))
    with pytest.raises(ConfigError, match='could run code'):
        CDFFormer(TINY, img_size=32, init_cfg=init_cfg).init_weights()
    init_cfg['prefix'] = 'backbone.'
    with pytest.raises(ConfigError, match='could run code'):
        CDFFormer(TINY, img_size=32, init_cfg=init_cfg).init_weights()


def test_load_checkpoint_into_any_model(hostile):
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


def test_a_download(server, cache):
    with pytest.raises(ConfigError, match='could run code'):
        CheckpointLoader.load_checkpoint(f'{server}/hostile.pth')


def test_a_name_of_ours(hostile, cache):
    for name in ('gfnet-ti', 'dfformer_s18'):
        (cache / f'{name}.pth').write_bytes(hostile.read_bytes())
    for name in ('gfnet-ti_in1k', 'dfformer-s18_in1k'):
        with pytest.raises(ConfigError, match='could run code'):
            CheckpointLoader.load_checkpoint(f'mmfft://{name}')


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
    scheme, table, server, cache, monkeypatch
):
    models = {'net': f'{server}/hostile.pth'}
    monkeypatch.setattr(mmengine_checkpoint, table, lambda: models)
    with pytest.raises(ConfigError, match='could run code'):
        CheckpointLoader.load_checkpoint(f'{scheme}://net')


@pytest.mark.parametrize('scheme', ['s3', 'petrel', 'cluster:s3'])
def test_object_storage(scheme, hostile, monkeypatch):
    backend = SimpleNamespace(get=lambda name: hostile.read_bytes())
    monkeypatch.setattr(
        mmengine_checkpoint, 'get_file_backend', lambda *a, **k: backend
    )
    # As users set it who were told that it helps against error messages.
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    with pytest.raises(pickle.UnpicklingError):
        CheckpointLoader.load_checkpoint(f'{scheme}://bucket/hostile.pth')
    assert os.environ['TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'] == '1'
    assert 'TORCH_FORCE_WEIGHTS_ONLY_LOAD' not in os.environ


def test_no_scheme_of_mmengine_is_left_as_it_was():
    ours = mmfft.checkpoints.loading
    for prefix, load in CheckpointLoader._schemes.items():
        wrapped = hasattr(load, '__wrapped__')
        assert wrapped or load.__module__ == ours.__name__, prefix


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


# ---------------------------------------------------------------- downloads


def test_a_download_is_checked_by_the_hash_in_its_name(server, cache, hostile):
    good = hostile.with_name('good.pth')
    torch.save(dict(state_dict={'w': torch.ones(2)}), good)
    data = good.read_bytes()
    digest = hashlib.sha256(data).hexdigest()[:8]
    (good.parent / f'net-{digest}.pth').write_bytes(data)
    (good.parent / 'net-00000000.pth').write_bytes(data)
    read = CheckpointLoader.load_checkpoint(f'{server}/net-{digest}.pth')
    assert torch.equal(read['state_dict']['w'], torch.ones(2))
    with pytest.raises(ConfigError, match='its hash is'):
        CheckpointLoader.load_checkpoint(f'{server}/net-00000000.pth')
    # Neither the wrong file nor a part of one.
    assert [f.name for f in cache.iterdir()] == [f'net-{digest}.pth']


def test_a_download_that_breaks_off_leaves_nothing(
    server, cache, hostile, monkeypatch
):
    seen = []

    def break_off(self, source, out):
        seen.append([f.name for f in cache.iterdir()])
        out.write(source.read(100))

    monkeypatch.setattr(SimpleHTTPRequestHandler, 'copyfile', break_off)
    with pytest.raises(ConfigError, match='broke off after 100 of'):
        CheckpointLoader.load_checkpoint(f'{server}/hostile.pth')
    assert list(cache.iterdir()) == []
    assert seen and 'hostile.pth' not in seen[0]


@pytest.mark.parametrize(
    'address', ['/', '/..', '/%2e%2e/%2e%2e/x.pth', '/a/../../../x.pth']
)
def test_an_address_does_not_leave_the_cache(address, cache, tmp_path, server):
    before = {p for p in tmp_path.rglob('*') if cache not in p.parents}
    with pytest.raises(ConfigError):
        CheckpointLoader.load_checkpoint(server + address)
    assert before == {p for p in tmp_path.rglob('*') if cache not in p.parents}


# -------------------------------------------------------------- predictions


@pytest.mark.parametrize('payload', PAYLOADS, ids=lambda p: p.__name__)
def test_a_dump_of_predictions_does_not_run(payload, trace, tmp_path):
    path = str(tmp_path / 'predictions.pkl')
    dump([dict(img_id=1, extra=payload(str(trace)))], path)
    with pytest.raises(ConfigError, match='not a dump of predictions'):
        load_predictions(path)


def test_predictions_come_back(tmp_path):
    path = str(tmp_path / 'predictions.pkl')
    samples = [
        dict(
            img_path='a.png',
            ori_shape=(3, 4),
            scale_factor=(0.5, np.float64(0.5)),
            pred_instances=dict(
                scores=torch.rand(3),
                labels=torch.arange(3),
                bboxes=np.random.rand(3, 4).astype(np.float32),
                masks=[dict(size=[3, 4], counts=b'\x00\xffabc')],
            ),
            flip=None,
        )
    ]
    dump(samples, path)
    (read,) = load_predictions(path)
    found, made = read.pop('pred_instances'), samples[0].pop('pred_instances')
    assert read == samples[0]
    assert torch.equal(found['scores'], made['scores'])
    assert torch.equal(found['labels'], made['labels'])
    assert np.array_equal(found['bboxes'], made['bboxes'])
    assert found['masks'] == made['masks']


@pytest.mark.parametrize('core', ['core', '_core'], ids=['numpy1', 'numpy2'])
def test_arrays_of_another_numpy_come_back(core, tmp_path):
    """NumPy 2 moved what its pickles call; either version reads both."""
    data = dict(bboxes=np.arange(6.0).reshape(2, 3), score=np.float64(0.5))

    def as_of(pickled):
        return re.sub(
            rb'numpy\._?core\.', b'numpy.%s.' % core.encode(), pickled
        )

    path = tmp_path / 'predictions.pkl'
    path.write_bytes(as_of(pickle.dumps([data], protocol=2)))
    (read,) = load_predictions(str(path))
    assert np.array_equal(read['bboxes'], data['bboxes'])
    assert read['score'] == 0.5

    torch.save(data, tmp_path / 'saved.pth')
    path = tmp_path / 'checkpoint.pth'
    with (
        zipfile.ZipFile(tmp_path / 'saved.pth') as saved,
        zipfile.ZipFile(path, 'w') as written,
    ):
        for name in saved.namelist():
            written.writestr(name, as_of(saved.read(name)))
    for read in (
        CheckpointLoader.load_checkpoint(str(path)),
        torch.load(path, weights_only=True),
    ):
        assert np.array_equal(read['bboxes'], data['bboxes'])
        assert read['score'] == 0.5


@pytest.mark.parametrize('content', [b'', b'hello', b'\x80\x04]', b'\x80'])
def test_torn_predictions(content, tmp_path):
    path = tmp_path / 'predictions.pkl'
    path.write_bytes(content)
    with pytest.raises(ConfigError, match='torn'):
        load_predictions(str(path))
    with pytest.raises(ConfigError, match='does not exist'):
        load_predictions(str(tmp_path / 'none.pkl'))


def test_builtins_are_what_they_were():
    """A payload above did not get at them."""
    assert builtins.eval is eval and builtins.getattr is getattr
