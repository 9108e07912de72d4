# Copyright (c) mmfft authors. All rights reserved.
"""Checkpoints as safetensors: what is kept, and what is said of the rest."""

import json
import math
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoint_forms import BAD, describe, weights
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from mmfft.checkpoints import publish, read_file, take_weights
from mmfft.checkpoints.writing import content_of, write_new
from mmfft.errors import ConfigError

META = dict(
    epoch=3,
    arch='s18',
    grid=(14, 15),
    source=None,
    cfg="model = dict(type='ImageClassifier')\n",
    dataset_meta=dict(
        classes=('cat', 'dog', 'Wellensittich, grün'),
        palette=[(255, 0, 0), [0, 255, 0]],
        names={0: 'cat', 1: 'dog', (2, 3): 'both'},
    ),
    lr=[1e-3, 2.5e-4],
    amp=False,
    marks={'$tuple': [1], 'nested': {'$items': ()}},
    empty=[{}, (), ''],
)


@pytest.fixture
def round_trip(tmp_path):
    """Function that publishes a checkpoint and reads the file again."""

    def run(checkpoint):
        torch.save(checkpoint, tmp_path / 'in.pth')
        file = publish(str(tmp_path / 'in.pth'), str(tmp_path / OUT))
        return file, read_file(str(file))

    return run


OUT = 'out.safetensors'


def test_meta_and_tensors_come_back_as_they_were(round_trip):
    state_dict = nn.Sequential(
        nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3)
    ).state_dict()
    state_dict['half'] = torch.arange(3.0).half()
    state_dict['brain'] = torch.arange(3.0).bfloat16()
    state_dict['nothing'] = torch.empty(0, 4)
    _, read = round_trip(dict(meta=META, state_dict=state_dict))
    assert set(read) == {'meta', 'state_dict'}
    assert repr(describe(read['meta'])) == repr(describe(META))
    assert set(read['state_dict']) == set(state_dict)
    for name, value in state_dict.items():
        assert describe(read['state_dict'][name]) == describe(value), name
    # The versions by which modules rename what older ones saved.
    assert read['state_dict']._metadata == state_dict._metadata


def test_other_readers_find_the_tensors_and_the_text(round_trip):
    file, _ = round_trip(dict(meta=META, state_dict=weights()))
    assert describe(load_file(file)) == describe(weights())
    with safe_open(file, framework='pt') as opened:
        metadata = opened.metadata()
    assert metadata['format'] == 'pt'
    assert json.loads(metadata['mmfft'])['meta']['arch'] == 's18'


def test_a_checkpoint_without_meta(round_trip):
    _, read = round_trip(dict(state_dict=weights()))
    assert set(read) == {'state_dict'}


def test_equal_checkpoints_are_equal_files():
    """By its hash, a published file is found to be there already."""
    checkpoint = dict(meta=META, state_dict=weights())
    assert len({content_of(checkpoint, OUT) for _ in range(8)}) == 1


def test_tensors_that_share_memory_or_are_not_contiguous(round_trip):
    whole = torch.arange(6.0)
    state_dict = OrderedDict(
        tied=whole,
        again=whole,
        start=whole[:3],
        turned=torch.arange(6.0).view(2, 3).t(),
        channels_last=torch.randn(1, 3, 4, 4).to(
            memory_format=torch.channels_last
        ),
        one_value=torch.ones(1).expand(4),
    )
    _, read = round_trip(dict(state_dict=state_dict))
    assert set(read['state_dict']) == set(state_dict)
    for name, value in state_dict.items():
        assert torch.equal(read['state_dict'][name], value), name


def test_what_is_left_out_of_meta_is_named(round_trip, caplog):
    meta = dict(
        epoch=1,
        mean=np.ones(3),
        nested=dict(when=[1, {2, 3}], loss=math.inf),
        weights=torch.ones(1),
    )
    _, read = round_trip(dict(meta=meta, state_dict=weights()))
    assert read['meta'] == dict(epoch=1, nested=dict(loss=math.inf))
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 3
    for text, name in zip(
        said,
        [
            "meta['mean'] (numpy.ndarray) is left out",
            "meta['nested']['when'][1] (builtins.set) is left out",
            "meta['weights'] (torch.Tensor) is left out",
        ],
    ):
        assert text.startswith(name)


@pytest.mark.parametrize(
    'checkpoint, sentence',
    [
        (
            dict(state_dict={}, optimizer={}, message_hub={}),
            r"state_dict only, not \['message_hub', 'optimizer'\]",
        ),
        (
            dict(state_dict=dict(w=torch.ones(1), _extra_state={})),
            r'dense tensors only, not _extra_state \(dict\): write a \.pth',
        ),
        (
            dict(state_dict=dict(w=torch.eye(2).to_sparse())),
            r'w \(torch\.sparse_coo',
        ),
        (
            dict(state_dict=dict(w=torch.ones(1, dtype=torch.complex128))),
            r'no tensors of torch\.complex128: write a \.pth file',
        ),
    ],
)
def test_what_the_format_cannot_hold_is_refused(checkpoint, sentence):
    with pytest.raises(ConfigError, match=sentence):
        content_of(checkpoint, OUT)


@pytest.mark.parametrize(
    'text',
    [
        'no json',
        '[]',
        '{}',
        '{"versions": {"a": "b"}}',
        '{"versions": {}, "meta": {"$items": 1}}',
        '[' * 100_000,
    ],
)
def test_a_text_that_others_wrote_is_one_error(text, tmp_path):
    file = tmp_path / OUT
    save_file(weights(), file, dict(mmfft=text))
    with pytest.raises(ConfigError, match="'mmfft' that mmfft did not write"):
        read_file(str(file))


def test_weights_alone_are_taken_into_either_format(tmp_path):
    BAD['own class'][0](tmp_path / 'in.pth')
    file = tmp_path / 'new' / OUT
    take_weights.take_weights(str(tmp_path / 'in.pth'), str(file))
    assert describe(load_file(file)) == describe(weights())


def test_a_file_appears_once_it_is_complete(tmp_path, monkeypatch):
    target = tmp_path / 'new' / OUT

    def fill_disk(path, content):
        path.open('wb').close()
        raise OSError('disk is full')

    with monkeypatch.context() as patch:
        patch.setattr(Path, 'write_bytes', fill_disk)
        with pytest.raises(OSError, match='full'):
            write_new(target, b'content')
    assert not list(target.parent.iterdir())
    write_new(target, b'content')
    with pytest.raises(ConfigError, match=r"out\.safetensors' exists already"):
        write_new(target, b'other')
    assert target.read_bytes() == b'content'
