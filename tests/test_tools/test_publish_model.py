# Copyright (c) mmfft authors. All rights reserved.
"""Checkpoints that are given to others."""

import hashlib

import pytest
import torch
from mmengine.logging import HistoryBuffer

from mmfft.checkpoints import read_file

AVERAGED, RAW = torch.ones(2), torch.zeros(2)
TRAINED = dict(
    meta=dict(epoch=1, dataset_meta=dict(classes=('a', 'b'))),
    state_dict=dict(w=AVERAGED, b=AVERAGED),
    ema_state_dict={'module.w': RAW, 'steps': torch.tensor(3)},
    message_hub=dict(log_scalars=dict(loss=HistoryBuffer([1.0], [1]))),
    optimizer=dict(state={}),
)


@pytest.fixture
def publish(tmp_path, call_tool, capsys):
    """Call the tool; returns the folder's new files or the error."""

    def run(checkpoint, *options):
        torch.save(checkpoint, tmp_path / 'in.pth')
        out = tmp_path / 'new' / 'model.pth'
        tool = 'model_converters/publish_model.py'
        args = tmp_path / 'in.pth', out, *options
        try:
            call_tool(tool, *args, cwd=tmp_path)
        except SystemExit as end:
            assert end.code == 2
            return capsys.readouterr().err
        (file,) = out.parent.iterdir()
        assert capsys.readouterr().out == f'written: {file}\n'
        return file

    return run


def test_what_is_kept_and_how_it_is_named(publish):
    file = publish(TRAINED)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert file.name == f'model-{digest[:8]}.pth'
    # By PyTorch as it is, without mmfft.
    kept = torch.load(file, weights_only=True)
    assert set(kept) == {'meta', 'state_dict'}
    assert kept['meta'] == TRAINED['meta']
    assert torch.equal(kept['state_dict']['w'], AVERAGED)


def test_weights_that_were_not_averaged(publish):
    state_dict = read_file(str(publish(TRAINED, '--no-ema')))['state_dict']
    assert torch.equal(state_dict['w'], RAW)
    assert torch.equal(state_dict['b'], AVERAGED)


def test_a_state_dict_alone_and_more_entries(publish):
    file = publish(dict(w=RAW))
    assert set(read_file(str(file))) == {'state_dict'}
    file.unlink()
    keys = ['--save-keys', 'state_dict', 'message_hub']
    assert set(read_file(str(publish(TRAINED, *keys)))) == set(keys[1:])


def test_what_is_refused(publish):
    lacking = dict(TRAINED)
    del lacking['ema_state_dict']
    assert 'no averaged weights' in publish(lacking, '--no-ema')
    assert "has no ['loss']: choose from" in publish(
        TRAINED, '--save-keys', 'loss'
    )
    file = publish(TRAINED)
    before = file.stat()
    assert f'{str(file)!r} exists already' in publish(TRAINED)
    assert file.stat() == before


def test_nothing_in_it_is_executed(publish, hostile, tmp_path, call_tool):
    with pytest.raises(SystemExit):
        call_tool(
            'model_converters/publish_model.py', hostile, 'out.pth',
            cwd=tmp_path,
        )  # fmt: skip
    assert not list(tmp_path.glob('*out*'))
