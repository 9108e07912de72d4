# Copyright (c) mmfft authors. All rights reserved.
"""Train, save, resume and test by the command lines, in each toolbox."""

import json

import pytest
import torch
from conftest import ROOT, small_data
from mmengine.fileio import load

pytestmark = pytest.mark.slow

DEMO = ROOT / 'configs' / 'demo'
CLS = DEMO / 'cdfformer-nano_1xb64-8e_digit-crops.py'
DET = DEMO / 'mask-rcnn_cdfformer-nano_fpn_1xb4-5e_digit-scenes.py'
SEG = DEMO / 'cdfformer-nano_fpn_1xb4-1k_digit-scenes-192x256.py'


@pytest.fixture(scope='module')
def pretrained(tmp_path_factory, digit_scenes, run_tool):
    """Checkpoint of a classifier trained for two epochs."""
    folder = tmp_path_factory.mktemp('cls')
    run_tool(
        'train.py',
        CLS,
        '--work-dir',
        folder,
        '--cfg-options',
        'train_cfg.max_epochs=2',
        *small_data('mmpretrain', digit_scenes),
        cwd=folder,
    )
    return folder / 'epoch_2.pth'


def in_a_work_dir(folder, config, run_tool, options, lengths, out):
    """Train, resume for longer, test; returns what training printed."""
    length, short, longer = lengths
    common = [config, '--work-dir', folder, '--cfg-options', *options]
    first = run_tool(
        'train.py', *common, f'train_cfg.{length}={short}', cwd=folder
    )
    state = folder / 'last_checkpoint'
    before = torch.load(state.read_text(), weights_only=False)
    resumed = run_tool(
        'train.py',
        *common,
        f'train_cfg.{length}={longer}',
        '--resume',
        cwd=folder,
    )
    assert 'resumed epoch' in resumed.stdout
    after = torch.load(state.read_text(), weights_only=False)
    counter = 'epoch' if 'epoch' in length else 'iter'
    assert before['meta'][counter] == short
    assert after['meta'][counter] == longer
    assert len(after['optimizer']['state'])
    run_tool(
        'test.py',
        config,
        state.read_text(),
        '--work-dir',
        folder,
        '--out',
        *out,
        '--show-dir',
        folder / 'shown',
        '--cfg-options',
        *options,
        cwd=folder,
    )
    return first.stdout


def test_mmpretrain(tmp_path, digit_scenes, run_tool):
    options = small_data('mmpretrain', digit_scenes)
    out = [tmp_path / 'metrics.json', tmp_path / 'predictions.pkl']
    in_a_work_dir(tmp_path, CLS, run_tool, options, ('max_epochs', 2, 3), out)
    assert 0 <= json.loads(out[0].read_text())['accuracy/top1'] <= 100
    assert len(load(str(out[1]))) == 20
    assert list((tmp_path / 'shown').rglob('*.png'))


def test_mmdet(pretrained, tmp_path, digit_scenes, run_tool):
    options = [
        f'model.backbone.init_cfg.checkpoint={pretrained}',
        *small_data('mmdet', digit_scenes),
    ]
    out = [tmp_path / 'metrics.json', tmp_path / 'predictions.pkl']
    said = in_a_work_dir(
        tmp_path, DET, run_tool, options, ('max_epochs', 1, 2), out
    )
    # From crops of 64x64 to scenes of 192x256.
    assert '3 HalfSpectrum from 4x4 to 12x16' in said
    assert '1 HalfSpectrum from 2x2 to 6x8' in said
    assert {'coco/bbox_mAP', 'coco/segm_mAP'} <= set(load(str(out[0])))
    assert len(load(str(out[1]))) == 4
    assert len(list((tmp_path / 'shown').rglob('*.png'))) == 4


def test_mmseg(pretrained, tmp_path, digit_scenes, run_tool):
    options = [
        f'model.backbone.init_cfg.checkpoint={pretrained}',
        'default_hooks.checkpoint.interval=1',
        'train_cfg.val_interval=1',
        'default_hooks.visualization.interval=1',
        *small_data('mmseg', digit_scenes),
    ]
    out = [tmp_path / 'metrics.json', tmp_path / 'predictions.pkl']
    said = in_a_work_dir(
        tmp_path, SEG, run_tool, options, ('max_iters', 2, 4), out
    )
    assert '3 HalfSpectrum from 4x4 to 12x16' in said
    assert 0 <= load(str(out[0]))['mIoU'] <= 100
    assert len(load(str(out[1]))) == 4
    assert len(list((tmp_path / 'shown').rglob('*.png'))) == 4


@pytest.mark.parametrize(
    'wrong, message',
    [
        ('model.backbone.arch=s19', "arch='s19' is not an arch of CDFFormer"),
        ('model.backbone.out_indices=(7,)', 'out_indices=(7,) is out of'),
        ('model.backbone.img_size=0', 'img_size must be a positive int'),
        ('train_dataloader.dataset.data_root=gone', "does not exist: 'gone'"),
        (None, 'close to it: '),
    ],
)
def test_what_is_wrong_is_one_line(
    wrong, message, tmp_path, digit_scenes, run_tool
):
    options = small_data('mmpretrain', digit_scenes)
    config = CLS if wrong else CLS.with_name('cdfformer-nano_digits.py')
    result = run_tool(
        'train.py',
        config,
        '--cfg-options',
        *options,
        *([wrong] if wrong else []),
        cwd=tmp_path,
        check=False,
    )
    assert result.returncode == 2
    assert 'Traceback' not in result.stdout
    last = result.stdout.strip().splitlines()[-1]
    assert last.startswith('train.py: error: ') and message in last
