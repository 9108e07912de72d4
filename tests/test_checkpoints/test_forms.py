# Copyright (c) mmfft authors. All rights reserved.
"""Which forms of files are read safely, and what is said of the others."""

import codecs
import re
import subprocess
import sys
from collections import OrderedDict, defaultdict

import checkpoint_forms
import numpy as np
import pytest
import torch
from checkpoint_forms import (
    BAD,
    FROM_ELSEWHERE,
    GOOD,
    OF_MMENGINE,
    Net,
    describe,
    weights,
)
from torch import nn

from mmfft.checkpoints import read_file
from mmfft.checkpoints.take_weights import take_weights
from mmfft.errors import ConfigError


@pytest.mark.parametrize('form', GOOD)
def test_it_is_read_as_it_was_saved(form, tmp_path):
    path = tmp_path / 'file.pth'
    GOOD[form](path)
    expected = torch.load(path, weights_only=False)
    assert repr(describe(read_file(str(path)))) == repr(describe(expected))


def test_defaultdicts_stay_one(tmp_path):
    shared = defaultdict(int)
    outer = defaultdict(list, b=shared)
    shared['itself'] = [outer]
    file = str(tmp_path / 'file.pth')
    torch.save(dict(meta=[shared, (shared, 1), outer]), file)
    first, (again, _), outer = read_file(file)['meta']
    assert first is again is outer['b']
    assert first['itself'][0] is outer
    assert type(first) is type(outer) is defaultdict
    assert (first['c'], outer['c']) == (0, [])


def test_a_forged_defaultdict_is_refused(tmp_path):
    """One that would call what is allowed to be called with arguments."""
    forged = OrderedDict(a=1)
    forged.default_factory = codecs.encode
    torch.save(dict(meta=forged), tmp_path / 'file.pth')
    with pytest.raises(ConfigError, match=r'collections\.defaultdict'):
        read_file(str(tmp_path / 'file.pth'))


@pytest.mark.parametrize('form', [*FROM_ELSEWHERE, *OF_MMENGINE])
def test_it_is_read_on_this_system(form, tmp_path):
    path = tmp_path / 'file.pth'
    {**FROM_ELSEWHERE, **OF_MMENGINE}[form](path)
    read = read_file(str(path))
    if form == 'safetensors':
        assert repr(describe(read)) == repr(describe(weights()))
        return
    assert repr(describe(read['state_dict'])) == repr(describe(weights()))
    if form == 'history':
        log = read['meta']['value']
        assert type(log).__name__ == 'HistoryBuffer'
        assert np.array_equal(log._log_history, [0.5, 0.25])
    else:
        assert read['meta']['value'].parts[-1] in 'ab'


@pytest.mark.parametrize('form', BAD)
def test_it_is_refused_by_name(form, tmp_path):
    write, sentence = BAD[form]
    path = tmp_path / 'file.pth'
    write(path)
    with pytest.raises(ConfigError) as raised:
        read_file(str(path))
    said = str(raised.value)
    assert re.search(sentence, said), said
    assert said.startswith(f"checkpoint '{path}' ")
    assert ('could run code' in said) == ('could run code' in sentence)


def test_a_device_that_is_not_here(tmp_path, monkeypatch):
    path = tmp_path / 'file.pth'
    with monkeypatch.context() as patch:
        patch.setattr(torch.serialization, 'location_tag', lambda s: 'hpu:0')
        torch.save(weights(), path)
    with pytest.raises(ConfigError, match="load it with map_location='cpu'"):
        read_file(str(path))
    assert set(read_file(str(path), map_location='cpu')) == set(weights())


# ------------------------------------------------------ taking only weights


@pytest.mark.parametrize(
    'form',
    ['whole module', 'whole module, legacy', 'whole module, wrapped'],
)
def test_the_weights_of_a_whole_module(form, tmp_path, monkeypatch):
    """Also where its class cannot be imported."""
    BAD[form][0](tmp_path / 'in.pth')
    torch.manual_seed(0)
    whole = torch.load(tmp_path / 'in.pth', weights_only=False)
    whole = whole['model'] if isinstance(whole, dict) else whole
    monkeypatch.delattr(checkpoint_forms, 'Net')
    target = tmp_path / 'new' / 'out.pth'
    take_weights(str(tmp_path / 'in.pth'), str(target))
    taken = read_file(str(target))
    expected = whole.state_dict()
    assert list(taken) == list(expected)
    assert 'shared.weight' in taken and 'passing' not in taken
    assert all(torch.equal(taken[k], expected[k]) for k in expected)
    Net().load_state_dict(taken, strict=True)


@pytest.mark.parametrize(
    'form',
    [
        'own class',
        'call of os',
        'filled deque',
        'protocol 4',
        'masked array',
    ],
)
def test_the_weights_beside_other_objects(form, tmp_path):
    BAD[form][0](tmp_path / 'in.pth')
    take_weights(str(tmp_path / 'in.pth'), str(tmp_path / 'out.pth'))
    read = read_file(str(tmp_path / 'out.pth'))
    assert repr(describe(read)) == repr(describe(weights()))


def test_the_command_that_the_refusal_names(tmp_path):
    BAD['whole module'][0](tmp_path / 'in.pth')
    with pytest.raises(ConfigError) as raised:
        read_file(str(tmp_path / 'in.pth'))
    named = re.search(r'python -m (\S+) (\S+) (\S+)', str(raised.value))
    module, *files = named.groups()
    command = [sys.executable, '-m', module, *files]

    def run():
        return subprocess.run(
            command, capture_output=True, text=True, cwd=tmp_path
        )

    ran = run()
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == '7 tensors in weights.pth\n'
    Net().load_state_dict(read_file(str(tmp_path / 'weights.pth')))
    again = run()
    assert again.returncode == 2
    assert 'exists already' in again.stderr.splitlines()[-1]


def test_the_weights_of_a_plain_pickle(tmp_path):
    BAD['plain pickle'][0](tmp_path / 'in.pth')
    take_weights(str(tmp_path / 'in.pth'), str(tmp_path / 'out.pth'))
    read = read_file(str(tmp_path / 'out.pth'))
    assert torch.equal(read['w'], torch.ones(2, dtype=torch.float64))


def test_what_is_no_tensor_is_named(tmp_path):
    torch.save({**weights(), 'epoch': 3}, tmp_path / 'in.pth')
    number, left_out = take_weights(
        str(tmp_path / 'in.pth'), str(tmp_path / 'out.pth')
    )
    assert (number, left_out) == (2, ['epoch'])


@pytest.mark.parametrize(
    'form', ['no bytes', 'text', 'torn', 'nothing', 'None']
)
def test_no_weights_are_one_error(form, tmp_path):
    BAD[form][0](tmp_path / 'in.pth')
    with pytest.raises(ConfigError):
        take_weights(str(tmp_path / 'in.pth'), str(tmp_path / 'out.pth'))
    assert not (tmp_path / 'out.pth').exists()


def test_the_switch_stands_afterwards(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '1')
    torch.save(weights(), tmp_path / 'in.pth')
    take_weights(str(tmp_path / 'in.pth'), str(tmp_path / 'out.pth'))
    torch.save(nn.Linear(1, 1), tmp_path / 'module.pth')
    with pytest.raises(Exception, match='[Ww]eights'):
        torch.load(tmp_path / 'module.pth', weights_only=False)
