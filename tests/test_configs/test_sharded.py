# Copyright (c) mmfft authors. All rights reserved.
"""The config for fully sharded training, with two processes on a CPU."""

import re

import pytest
import torch
from config_files import ROOT, build, load
from forked_ranks import run_ranks
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

CONFIG = 'configs/dfformer/dfformer-b36_8xb128-fsdp_in1k.py'


def test_it_trains_what_its_twin_trains():
    cfg, twin = load(CONFIG), load(CONFIG.replace('-fsdp', ''))
    for key in set(twin) - {'optim_wrapper'}:
        assert cfg[key] == twin[key], key
    assert cfg.optim_wrapper.optimizer == twin.optim_wrapper.optimizer
    # Shards have one dimension: this rule would free all of them of decay.
    assert 'flat_decay_mult' not in cfg.optim_wrapper.paramwise_cfg
    assert build(CONFIG).backbone.arch['embed_dims'][-1] == 768


SMALL = """
_base_ = '{base}'
model = dict(
    backbone=dict(
        arch=dict(
            _delete_=True, embed_dims=[8, 8, 16, 16], depths=[1, 1, 1, 1]),
        img_size=32),
    head=dict(in_channels=16))
strategy = dict(
    model_wrapper=dict(
        auto_wrap_policy=dict(min_num_params=1000), device_id='cpu'),
    # On a CPU, PyTorch reads freed memory where states are taken to the CPU.
    state_dict_cfg=dict(
        _delete_=True,
        state_dict_type='FULL_STATE_DICT',
        state_dict_config=dict(
            type='FullStateDictConfig', offload_to_cpu=False),
        optim_state_dict_config=dict(
            type='FullOptimStateDictConfig', offload_to_cpu=False)))
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=_base_.optim_wrapper.optimizer,
    paramwise_cfg=_base_.optim_wrapper.paramwise_cfg)
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        _delete_=True,
        type='CustomDataset',
        data_root='{data}',
        data_prefix='crops/train',
        pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')]))
train_cfg = dict(max_epochs=1)
default_hooks = dict(logger=dict(interval=1))
"""


@pytest.mark.slow
def test_two_processes_train(digit_scenes, tmp_path):
    config = tmp_path / 'small.py'
    config.write_text(SMALL.format(base=ROOT / CONFIG, data=digit_scenes))
    options = ['--no-validate', '--work-dir', 'out']
    said = run_ranks('train.py', config, *options, cwd=tmp_path)

    # 32 crops, 4 for each of 2 processes.
    assert re.search(r'\[1\]\[4/4\].* loss: \d', said)
    (log,) = (tmp_path / 'out').glob('*/*.log')
    decays = dict(
        re.findall(
            r'paramwise_options -- (\S+):weight_decay=(\S+)', log.read_text()
        )
    )
    free = {
        name.replace('_fsdp_wrapped_module.', '')
        for name, decay in decays.items()
        if float(decay) == 0
    }
    cfg = Config.fromfile(config)
    init_default_scope(cfg.default_scope)
    model = MODELS.build(
        {**cfg.model, 'data_preprocessor': cfg.data_preprocessor}
    )
    assert free == {
        name for name, p in model.named_parameters() if p.ndim == 1
    }
    # One file, with the names that every other run has.
    checkpoint = torch.load(
        tmp_path / 'out' / 'epoch_1.pth', weights_only=False
    )
    model.load_state_dict(checkpoint['state_dict'], strict=True)
