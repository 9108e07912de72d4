# Copyright (c) mmfft authors. All rights reserved.
"""Train, save, resume and test by the command lines, in each toolbox."""

import json

import pytest
import torch
from conftest import ROOT, small_data
from mmengine.fileio import load

pytestmark = pytest.mark.slow

DEMO = ROOT / 'configs' / 'demo'
CLS = DEMO / 'cdfformer-nano_1xb32-6e_digit-crops.py'
DET = DEMO / 'mask-rcnn_cdfformer-nano_fpn_1xb4-3e_digit-scenes.py'
SEG = DEMO / 'cdfformer-nano_fpn_1xb2-2k_digit-scenes-192x256.py'


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


def pictures(folder):
    found = sorted(p.relative_to(folder) for p in folder.rglob('*.png'))
    assert found
    return found


@pytest.fixture
def in_a_work_dir(tmp_path, call_tool, capsys):
    """Train, resume for longer, test; returns what training printed."""

    def run(config, options, lengths, out, tta_options=()):
        length, short, longer = lengths
        common = [config, '--work-dir', tmp_path, '--cfg-options', *options]
        call_tool(
            'train.py',
            *common,
            f'train_cfg.{length}={short}',
            '--auto-scale-lr',
            cwd=tmp_path,
        )
        said = capsys.readouterr().out
        assert 'LR is set based on batch size' in said
        state = tmp_path / 'last_checkpoint'
        before = torch.load(state.read_text(), weights_only=False)
        call_tool(
            'train.py',
            *common,
            f'train_cfg.{length}={longer}',
            '--resume',
            cwd=tmp_path,
        )
        assert 'resumed epoch' in capsys.readouterr().out
        after = torch.load(state.read_text(), weights_only=False)
        counter = 'epoch' if 'epoch' in length else 'iter'
        assert before['meta'][counter] == short
        assert after['meta'][counter] == longer
        assert len(after['optimizer']['state'])
        test = [config, state.read_text(), '--work-dir', tmp_path]
        call_tool(
            'test.py',
            *test,
            '--out',
            *out,
            '--show-dir',
            'shown',
            '--cfg-options',
            *options,
            cwd=tmp_path,
        )
        call_tool(
            'test.py',
            *test,
            '--tta',
            '--show-dir',
            'tta',
            '--show-num',
            '2',
            '--out',
            tmp_path / 'tta.json',
            '--cfg-options',
            *options,
            *tta_options,
            cwd=tmp_path,
        )
        assert len(pictures(tmp_path / 'tta')) == 2
        return said

    return run


def test_mmpretrain(tmp_path, digit_scenes, in_a_work_dir):
    options = small_data('mmpretrain', digit_scenes)
    out = [tmp_path / 'metrics.json', tmp_path / 'predictions.pkl']
    in_a_work_dir(CLS, options, ('max_epochs', 2, 3), out)
    assert 0 <= load(str(tmp_path / 'tta.json'))['accuracy/top1'] <= 100
    assert 0 <= json.loads(out[0].read_text())['accuracy/top1'] <= 100
    assert len(load(str(out[1]))) == 20
    images = digit_scenes / 'crops' / 'val'
    assert pictures(tmp_path / 'shown') == pictures(images)


def test_mmdet(pretrained, tmp_path, digit_scenes, in_a_work_dir):
    options = [
        f'model.backbone.init_cfg.checkpoint={pretrained}',
        *small_data('mmdet', digit_scenes),
    ]
    out = [tmp_path / 'metrics.json', tmp_path / 'predictions.pkl']
    boxes = ['model.roi_head.mask_head=None', 'test_evaluator.metric=bbox']
    said = in_a_work_dir(DET, options, ('max_epochs', 1, 2), out, boxes)
    assert 'coco/bbox_mAP' in load(str(tmp_path / 'tta.json'))
    # From crops of 64x64 to scenes of 192x256.
    assert '3 HalfSpectrum from 4x4 to 12x16' in said
    assert '1 HalfSpectrum from 2x2 to 6x8' in said
    assert {'coco/bbox_mAP', 'coco/segm_mAP'} <= set(load(str(out[0])))
    assert len(load(str(out[1]))) == 4
    images = digit_scenes / 'scenes' / 'images' / 'validation'
    assert pictures(tmp_path / 'shown') == pictures(images)


def test_mmseg(pretrained, tmp_path, digit_scenes, in_a_work_dir):
    options = [
        f'model.backbone.init_cfg.checkpoint={pretrained}',
        'default_hooks.checkpoint.interval=1',
        'train_cfg.val_interval=1',
        'default_hooks.visualization.interval=1',
        *small_data('mmseg', digit_scenes),
    ]
    out = [tmp_path / 'metrics.json', tmp_path / 'predictions.pkl']
    said = in_a_work_dir(SEG, options, ('max_iters', 2, 4), out)
    assert 0 <= load(str(tmp_path / 'tta.json'))['mIoU'] <= 100
    assert '3 HalfSpectrum from 4x4 to 12x16' in said
    assert 0 <= load(str(out[0]))['mIoU'] <= 100
    assert len(load(str(out[1]))) == 4
    images = digit_scenes / 'scenes' / 'images' / 'validation'
    assert pictures(tmp_path / 'shown') == pictures(images)


def test_a_test_needs_weights_for_the_whole_model(
    pretrained, tmp_path, digit_scenes, call_tool, capsys
):
    def test(config, toolbox, *options, more=()):
        call_tool(
            'test.py', config, pretrained, '--work-dir', tmp_path, *more,
            '--cfg-options', *small_data(toolbox, digit_scenes), *options,
            cwd=tmp_path,
        )  # fmt: skip

    def refused(*args):
        with pytest.raises(SystemExit) as end:
            test(*args)
        assert end.value.code == 2
        return capsys.readouterr().err

    four = 'model.head.num_classes=4'
    why = (
        'does not fit the config: model.head.num_classes is 4, 10 in the '
        'file; head.fc2.weight has shape (10, 512), the model (4, 512), '
        'head.fc2.bias has shape (10,), the model (4,)'
    )
    assert why in refused(CLS, 'mmpretrain', four)
    # What no shape shows, and what would change every result.
    fewer = [
        'model.backbone.arch._delete_=True',
        'model.backbone.arch.embed_dims=[24,48,96,128]',
        'model.backbone.arch.depths=[1,1,2,1]',
    ]
    assert 'arch.depths is [1, 1, 2, 1], [1, 1, 3, 1] in the file' in (
        refused(CLS, 'mmpretrain', *fewer)
    )
    assert 'in_channels is 1, 3 in the file' in refused(
        CLS, 'mmpretrain', 'model.backbone.in_channels=1'
    )
    said = refused(DET, 'mmdet')
    assert f'checkpoint {str(pretrained)!r} lacks 42 tensors' in said
    assert 'and all of neck, rpn_head, roi_head; it has' in said
    test(CLS, 'mmpretrain', four, more=['--allow-missing'])
    said = capsys.readouterr().out
    assert why in said and 'accuracy/top1' in said


def test_a_published_file_gives_the_same_metric(
    pretrained, tmp_path, digit_scenes, call_tool, capsys
):
    tool = 'model_converters/publish_model.py'
    call_tool(tool, pretrained, 'public.pth', cwd=tmp_path)
    (public,) = tmp_path.glob('public-*.pth')
    for name, file in [('ours', pretrained), ('public', public)]:
        call_tool(
            'test.py', CLS, file, '--work-dir', tmp_path / 'work',
            '--out', f'{name}.json', '--cfg-options',
            *small_data('mmpretrain', digit_scenes), cwd=tmp_path,
        )  # fmt: skip
    metrics = [load(str(tmp_path / f'{n}.json')) for n in ('ours', 'public')]
    assert metrics[0]['accuracy/top1'] == metrics[1]['accuracy/top1']


def test_training_takes_what_fits_and_says_what_does_not(
    pretrained, tmp_path, digit_scenes, call_tool, capsys
):
    """Also an averaged model starts from the stem that was adapted."""
    config = tmp_path / 'fine.py'
    config.write_text(
        f'_base_ = {str(CLS)!r}\n'
        f'load_from = {str(pretrained)!r}\n'
        'grey = dict(pipeline=[\n'
        "    dict(type='LoadImageFromFile', color_type='grayscale'),\n"
        "    dict(type='PackInputs')])\n"
        'model = dict(backbone=dict(in_channels=1), head=dict(mlp_ratio=2))\n'
        'data_preprocessor = dict(\n'
        '    _delete_=True, mean=[127.0], std=[50.0], num_classes=10)\n'
        'train_dataloader = dict(dataset=grey)\n'
        "custom_hooks = [dict(type='EMAHook')]\n"
    )
    call_tool(
        'train.py', config, '--work-dir', tmp_path, '--no-validate',
        '--cfg-options', *small_data('mmpretrain', digit_scenes),
        'train_cfg.max_epochs=2', 'optim_wrapper.optimizer.lr=0',
        'optim_wrapper.optimizer.weight_decay=0', cwd=tmp_path,
    )  # fmt: skip
    said = capsys.readouterr().out
    assert 'do not match exactly' not in said
    report = said[said.index("load_from '") :].splitlines()
    assert report[0].endswith(': 105 of 110 tensors of the model loaded')
    assert [line.strip() for line in report[1:3]] == [
        'model.backbone.in_channels is 1, 3 in the file',
        'of another shape, and not loaded: head.fc1.weight, head.fc1.bias, '
        'head.norm.weight, ... (5 in all)',
    ]
    before = torch.load(pretrained, weights_only=False)['state_dict']
    after = torch.load(tmp_path / 'epoch_2.pth', weights_only=False)
    name = 'backbone.downsample_layers.0.conv.weight'
    for weight in (
        after['state_dict'][name],
        after['ema_state_dict'][f'module.{name}'],
    ):
        torch.testing.assert_close(weight, before[name].sum(1, True))


@pytest.mark.parametrize(
    'wrong, message',
    [
        ('model.backbone.arch=s19', "arch='s19' is not an arch of CDFFormer"),
        ('model.backbone.out_indices=(7,)', 'out_indices=(7,) is out of'),
        ('model.backbone.img_size=0', 'img_size must be a positive int'),
        ('train_dataloader.dataset.data_root=gone', "does not exist: 'gone'"),
        (None, 'similar names: '),
    ],
)
def test_what_is_wrong_is_one_line(
    wrong, message, tmp_path, digit_scenes, call_tool, capsys
):
    options = small_data('mmpretrain', digit_scenes)
    config = CLS if wrong else CLS.with_name('cdfformer-nano_digits.py')
    with pytest.raises(SystemExit) as end:
        call_tool(
            'train.py',
            config,
            '--cfg-options',
            *options,
            *([wrong] if wrong else []),
            cwd=tmp_path,
        )
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith('train.py: error: ') and message in said
    assert said.count('\n') == 1


def test_a_process_ends_with_one_line_and_status_2(tmp_path, run_tool):
    result = run_tool('test.py', CLS, 'gone.pth', cwd=tmp_path, check=False)
    assert result.returncode == 2
    last = result.stdout.strip().splitlines()[-1]
    assert last == "test.py: error: checkpoint 'gone.pth' does not exist"
