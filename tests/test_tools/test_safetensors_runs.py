# Copyright (c) mmfft authors. All rights reserved.
"""Command lines that read and write checkpoints as safetensors."""

import onnx
import pytest
import torch
from config_files import load
from conftest import ROOT, small_data
from mmengine.fileio import load as load_json
from published_records import published_state_dict
from random_weights import save_random_weights
from safetensors.torch import load_file, save_file

from mmfft.checkpoints import publish, read_file

CLS = 'configs/demo/cdfformer-nano_1xb32-6e_digit-crops.py'


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """One checkpoint of the demo's classifier, in both formats."""
    folder = tmp_path_factory.mktemp('weights')
    plain = save_random_weights(load(CLS), folder)
    return str(plain), str(publish(str(plain), str(folder / 'w.safetensors')))


@pytest.fixture
def train(tmp_path, call_tool, digit_scenes, quick_runs):
    """Function that trains the demo's classifier on a batch, without steps."""

    def run(*options, more=()):
        call_tool(
            'train.py', ROOT / CLS, '--work-dir', tmp_path, '--no-validate',
            *more, '--cfg-options', *small_data('mmpretrain', digit_scenes),
            'train_dataloader.batch_size=32', 'train_cfg.max_epochs=2',
            'optim_wrapper.optimizer.lr=0',
            'optim_wrapper.optimizer.weight_decay=0', *options, cwd=tmp_path,
        )  # fmt: skip
        return torch.load(tmp_path / 'epoch_2.pth', weights_only=False)

    return run


def same(ours, expected, part=''):
    names = [name for name in expected if name.startswith(part)]
    assert names
    return all(torch.equal(ours[name], expected[name]) for name in names)


def test_training_starts_from_it(train, weights, tmp_path):
    expected = torch.load(weights[0])['state_dict']
    loaded = train(f'load_from={weights[1]}')
    assert same(loaded['state_dict'], expected)
    # All that a training writes under meta can be kept.
    trained, target = tmp_path / 'epoch_2.pth', tmp_path / 'out.safetensors'
    again = read_file(str(publish(str(trained), str(target))))
    assert again['meta'] == loaded['meta']
    assert again['meta']['dataset_meta']['classes'] == tuple('0123456789')


def test_a_backbone_starts_from_it(train, weights):
    expected = torch.load(weights[0])['state_dict']
    pretrained = ['type=Pretrained', f'checkpoint={weights[1]}']
    loaded = train(*(f'model.backbone.init_cfg.{one}' for one in pretrained))
    assert same(loaded['state_dict'], expected, 'backbone.')
    assert not same(loaded['state_dict'], expected, 'head.')


def test_training_cannot_be_resumed_from_it(train, weights, capsys):
    with pytest.raises(SystemExit) as end:
        train(more=['--resume', weights[1]])
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert f'--resume: {weights[1]!r} is only weights, without' in said
    assert 'message_hub, optimizer' in said
    assert f'--cfg-options load_from={weights[1]}' in said


def test_a_test_gives_the_same_metric(
    weights, tmp_path, digit_scenes, call_tool
):
    for i, file in enumerate(weights):
        call_tool(
            'test.py', ROOT / CLS, file, '--work-dir', tmp_path / 'work',
            '--out', f'{i}.json', '--cfg-options',
            *small_data('mmpretrain', digit_scenes), cwd=tmp_path,
        )  # fmt: skip
    metrics = [load_json(str(tmp_path / f'{i}.json')) for i in (0, 1)]
    assert metrics[0]['accuracy/top1'] == metrics[1]['accuracy/top1']


def test_it_is_exported(weights, tmp_path, call_tool, capsys):
    call_tool(
        'deployment/export_onnx.py', ROOT / CLS, weights[1], '--out',
        'model.onnx', cwd=tmp_path,
    )  # fmt: skip
    assert 'tolerance 0.0001: ok' in capsys.readouterr().out
    assert onnx.load(tmp_path / 'model.onnx').graph.output[0].name == 'logits'


def test_published_files_are_converted_from_and_to_it(
    tmp_path, call_tool, capsys
):
    published = published_state_dict('cdfformer_s18')
    save_file(published, tmp_path / 'in.safetensors')
    for target in ('out.pth', 'out.safetensors'):
        call_tool(
            'model_converters/published_to_mmfft.py', 'in.safetensors',
            target, cwd=tmp_path,
        )  # fmt: skip
    plain, ours = (
        read_file(str(tmp_path / f'out.{ending}'))
        for ending in ('pth', 'safetensors')
    )
    assert ours['meta'] == plain['meta']
    assert ours['meta']['model']['backbone']['out_indices'] == (3,)
    assert same(ours['state_dict'], plain['state_dict'])
    assert ours['state_dict'].keys() == plain['state_dict'].keys()
    assert same(load_file(tmp_path / 'out.safetensors'), plain['state_dict'])


def test_it_is_published(weights, tmp_path, call_tool, capsys):
    call_tool(
        'model_converters/publish_model.py', weights[0], 'out.safetensors',
        cwd=tmp_path,
    )  # fmt: skip
    (file,) = tmp_path.glob('out-????????.safetensors')
    assert capsys.readouterr().out == f'written: {file.name}\n'
    assert same(load_file(file), torch.load(weights[0])['state_dict'])
    with pytest.raises(SystemExit):
        call_tool(
            'model_converters/publish_model.py', weights[0],
            'out.safetensors', cwd=tmp_path,
        )  # fmt: skip
    assert 'exists already' in capsys.readouterr().err
