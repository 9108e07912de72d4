# Copyright (c) mmfft authors. All rights reserved.
"""safetensors in mmengine's own loading, which knows only PyTorch's format."""

import pytest
import torch
from mmengine.runner import load_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader
from safetensors.torch import save_file

from mmfft.backbones import CDFFormer
from mmfft.checkpoints import publish
from mmfft.errors import ConfigError

TINY = dict(embed_dims=[8, 16, 24, 32], depths=[1, 1, 1, 1])


@pytest.fixture
def saved(tmp_path):
    """A backbone and its weights in a file."""
    torch.manual_seed(0)
    model = CDFFormer(TINY, img_size=64)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'in.pth')
    path = publish(str(tmp_path / 'in.pth'), str(tmp_path / 'w.safetensors'))
    return model, str(path)


def same(ours, expected):
    return all(
        torch.equal(value, expected.state_dict()[name])
        for name, value in ours.state_dict().items()
    )


def test_init_cfg(saved):
    init_cfg = dict(type='Pretrained', checkpoint=saved[1])
    model = CDFFormer(TINY, img_size=64, init_cfg=init_cfg)
    assert not same(model, saved[0])
    model.init_weights()
    assert same(model, saved[0])


def test_load_checkpoint(saved):
    model = CDFFormer(TINY, img_size=64)
    load_checkpoint(model, saved[1])
    assert same(model, saved[0])


def test_a_file_of_others(tmp_path):
    path = tmp_path / 'weights.safetensors'
    save_file(dict(weight=torch.ones(2)), path)
    loaded = CheckpointLoader.load_checkpoint(str(path))
    assert torch.equal(loaded['weight'], torch.ones(2))


def test_a_torn_file_is_one_error(saved):
    with open(saved[1], 'r+b') as file:
        file.truncate(500)
    with pytest.raises(ConfigError, match='torn'):
        CheckpointLoader.load_checkpoint(saved[1])
