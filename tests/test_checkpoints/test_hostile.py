# Copyright (c) mmfft authors. All rights reserved.
"""Files that would run code, and what reads them without mmengine.

See :mod:`hostile_payloads` for what they would do.
"""

import builtins
import hashlib
import os
import pickle
import re
import subprocess
import sys
import zipfile
from http.server import SimpleHTTPRequestHandler

import numpy as np
import pytest
import torch
from checkpoint_forms import Net, weights
from hostile_payloads import PAYLOADS, WRITERS, by_eval, by_numpy
from torch import nn

from mmfft.checkpoints import (
    allow,
    allowed_globals,
    download,
    harden,
    is_hardened,
    load_checkpoint_file,
    published_file,
)
from mmfft.checkpoints.pickles import load_predictions
from mmfft.checkpoints.take_weights import take_weights
from mmfft.errors import ConfigError


@pytest.mark.parametrize('write', WRITERS, ids=lambda w: w.__name__)
@pytest.mark.parametrize('payload', PAYLOADS, ids=lambda p: p.__name__)
def test_no_form_of_a_checkpoint_runs(payload, write, trace, tmp_path):
    path = tmp_path / 'hostile.pth'
    write(path, payload(str(trace)))
    with pytest.raises(ConfigError, match='could run code'):
        load_checkpoint_file(str(path))


@pytest.mark.parametrize('payload', PAYLOADS[:-2], ids=lambda p: p.__name__)
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


@pytest.mark.parametrize('write', WRITERS, ids=lambda w: w.__name__)
@pytest.mark.parametrize('payload', PAYLOADS, ids=lambda p: p.__name__)
def test_taking_the_weights_runs_nothing(payload, write, trace, tmp_path):
    write(tmp_path / 'hostile.pth', payload(str(trace)))
    target = tmp_path / 'weights.pth'
    try:
        take_weights(str(tmp_path / 'hostile.pth'), str(target))
    except ConfigError as error:
        # A plain pickle of no weights, and a storage that is a pickle.
        assert (
            write.__name__ == 'write_plain' or 'inner' in payload.__name__
        ), error
    else:
        taken = load_checkpoint_file(str(target))
        assert all(torch.equal(taken[k], v) for k, v in weights().items())


@pytest.mark.parametrize(
    ('owner', 'name'),
    [
        ('history', '__init__'),
        ('history', '_log_history'),
        (torch.Tensor, 'numpy'),
        (os, 'system'),
    ],
)
def test_getattr_reaches_nothing_but_the_history(owner, name):
    known = allowed_globals()
    if owner == 'history':
        owner = known['mmengine.logging.history_buffer.HistoryBuffer']
    with pytest.raises(pickle.UnpicklingError, match='not of a HistoryBuffer'):
        known['builtins.getattr'](owner, name)


def test_nothing_allowed_calls_back():
    """Names that could run something are not on the list, or look first."""
    known = allowed_globals()
    for factory in (eval, os.system, lambda: 0, by_eval):
        with pytest.raises(pickle.UnpicklingError, match='could call'):
            known['collections.defaultdict'](factory)
    modules = {path.rpartition('.')[0] for path in known}
    assert not modules & {
        'os',
        'sys',
        'posix',
        'nt',
        'subprocess',
        'importlib',
    }
    for name in ('eval', 'exec', 'open', 'map', 'filter', '__import__'):
        assert f'builtins.{name}' not in known


def test_a_class_takes_the_place_of_its_stand_in(monkeypatch):
    """Also with PyTorch, which may know the stand-in already."""
    monkeypatch.setattr(
        'mmfft.checkpoints.allowed._allowed', allowed_globals()
    )
    before = torch.serialization.get_safe_globals()

    def make(kind):
        return type('Log', (), dict(__module__='elsewhere', stands_as=kind))

    try:
        allow(make('stand-in'))
        harden()
        allow(make('real'))
        known = torch.serialization.get_safe_globals()
        assert [
            vars(one)['stands_as']
            for one in known
            if 'stands_as' in getattr(one, '__dict__', ())
        ] == ['real']
        assert allowed_globals()['elsewhere.Log'].stands_as == 'real'
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)


# ------------------------------------------------------------------ hardening


@pytest.mark.parametrize('refrain', [None, '1'])
def test_hardened_loads_execute_nothing(refrain, hostile, monkeypatch):
    """Whatever their caller says, and a user's environment."""
    if refrain:
        # As users set it who were told that it helps against error messages.
        monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', refrain)
    assert not is_hardened()
    harden()
    assert is_hardened()
    for options in ({}, dict(weights_only=False), dict(weights_only=None)):
        with pytest.raises(pickle.UnpicklingError):
            torch.load(hostile, **options)
    # A process that this one starts.
    code = (
        'import sys, torch\n'
        'try:\n'
        '    torch.load(sys.argv[1], weights_only=False)\n'
        'except Exception as error:\n'
        '    print(type(error).__name__)\n'
    )
    ran = subprocess.run(
        [sys.executable, '-c', code, hostile], stdout=subprocess.PIPE
    )
    assert ran.stdout == b'UnpicklingError\n'


def test_without_hardening_a_caller_decides(tmp_path):
    """So that the test above can fail."""
    torch.save(Net(), tmp_path / 'net.pth')
    assert type(torch.load(tmp_path / 'net.pth', weights_only=False)) is Net
    harden()
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / 'net.pth', weights_only=False)


def test_a_name_of_ours(hostile, cache):
    for name in ('gfnet-ti', 'dfformer_s18'):
        (cache / f'{name}.pth').write_bytes(hostile.read_bytes())
    for name in ('gfnet-ti_in1k', 'dfformer-s18_in1k'):
        with pytest.raises(ConfigError, match='could run code'):
            load_checkpoint_file(published_file(name))


# ------------------------------------------------------------------ downloads


def test_a_download(server, cache):
    with pytest.raises(ConfigError, match='could run code'):
        load_checkpoint_file(download(f'{server}/hostile.pth'))


def test_a_download_is_checked_by_the_hash_in_its_name(server, cache, hostile):
    good = hostile.with_name('good.pth')
    torch.save(dict(state_dict={'w': torch.ones(2)}), good)
    data = good.read_bytes()
    digest = hashlib.sha256(data).hexdigest()[:8]
    (good.parent / f'net-{digest}.pth').write_bytes(data)
    (good.parent / 'net-00000000.pth').write_bytes(data)
    read = load_checkpoint_file(download(f'{server}/net-{digest}.pth'))
    assert torch.equal(read['state_dict']['w'], torch.ones(2))
    with pytest.raises(ConfigError, match='its hash is'):
        download(f'{server}/net-00000000.pth')
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
        download(f'{server}/hostile.pth')
    assert list(cache.iterdir()) == []
    assert seen and 'hostile.pth' not in seen[0]


@pytest.mark.parametrize(
    'address', ['/', '/..', '/%2e%2e/%2e%2e/x.pth', '/a/../../../x.pth']
)
def test_an_address_does_not_leave_the_cache(address, cache, tmp_path, server):
    before = {p for p in tmp_path.rglob('*') if cache not in p.parents}
    with pytest.raises(ConfigError):
        download(server + address)
    assert before == {p for p in tmp_path.rglob('*') if cache not in p.parents}


# ---------------------------------------------------------------- predictions


def write_predictions(samples, path):
    """As mmengine does."""
    with open(path, 'wb') as file:
        pickle.dump(samples, file, protocol=2)


@pytest.mark.parametrize('payload', PAYLOADS, ids=lambda p: p.__name__)
def test_a_dump_of_predictions_does_not_run(payload, trace, tmp_path):
    path = str(tmp_path / 'predictions.pkl')
    write_predictions([dict(img_id=1, extra=payload(str(trace)))], path)
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
    write_predictions(samples, path)
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
        load_checkpoint_file(str(path)),
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
