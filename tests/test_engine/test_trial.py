# Copyright (c) mmfft authors. All rights reserved.
import os

import pytest
from config_files import load
from conftest import ROOT, small_data
from mmengine.config import DictAction
from mmengine.fileio import dump
from mmengine.fileio import load as read

from mmfft.engine import check_config, try_steps

DEMO = 'configs/demo/'
CLS = DEMO + 'cdfformer-nano_1xb32-6e_digit-crops.py'
DET = DEMO + 'mask-rcnn_cdfformer-nano_fpn_1xb4-3e_digit-scenes.py'
SEG = DEMO + 'cdfformer-nano_fpn_1xb2-2k_digit-scenes-192x256.py'
CLI = 'misc/check_dataset.py'


@pytest.fixture
def config(digit_scenes, tmp_path, monkeypatch):
    """A function that loads a config for a few pictures."""
    monkeypatch.chdir(tmp_path)

    def load_small(path):
        cfg = load(path)
        pairs = small_data(cfg.default_scope, digit_scenes)
        for key, value in (pair.split('=', 1) for pair in pairs):
            cfg.merge_from_dict({key: DictAction._parse_iterable(value)})
        return cfg

    return load_small


def steps(cfg):
    """The transforms of training by their names."""
    return {step.type: step for step in cfg.train_dataloader.dataset.pipeline}


@pytest.mark.parametrize('path', [CLS, DET, SEG])
def test_good_configs_leave_nothing_behind(path, config, tmp_path):
    cfg = config(path)
    cfg.work_dir = 'work'
    if path == DET:
        cfg.val_evaluator.outfile_prefix = 'results/boxes'
    before = cfg.pretty_text
    assert try_steps(cfg) == []
    assert os.listdir(tmp_path) == []
    assert cfg.pretty_text == before


def only(failures, where):
    (failure,) = failures
    assert failure.where == where, failure
    return failure.what


def test_masks_that_are_not_loaded(config):
    cfg = config(DET)
    steps(cfg)['LoadAnnotations'].with_mask = False
    what = only(try_steps(cfg), 'training step')
    assert "no attribute 'masks' (in model.roi_head.mask_head, " in what
    assert 'with_mask' in what


def test_truth_that_the_metric_cannot_use(config, tmp_path):
    """COCO's metric looks at ``iscrowd`` only where something is predicted."""
    cfg = config(DET)
    truth = read(cfg.val_evaluator.ann_file)
    for annotation in truth['annotations']:
        del annotation['iscrowd']
    path = str(tmp_path / 'truth.json')
    dump(truth, path)
    cfg.val_dataloader.dataset.ann_file = path
    cfg.val_evaluator.ann_file = path
    what = only(try_steps(cfg), 'val_evaluator')
    assert what.startswith("KeyError: 'iscrowd' (in CocoMetric")
    assert what.endswith('add "iscrowd": 0')


def test_masks_that_nothing_predicts(config):
    cfg = config(DET)
    cfg.model.roi_head.mask_head = None
    what = only(try_steps(cfg), 'val_evaluator')
    assert what.endswith('leave segm out of the metric')


def test_classes_without_a_box(config):
    cfg = config(DET)
    cfg.train_dataloader.dataset.metainfo.classes = ('cell',)
    cfg.train_dataloader.dataset.filter_cfg.filter_empty_gt = True
    assert 'no sample was found' in only(try_steps(cfg), 'training data')


@pytest.mark.parametrize(
    'path, gone, where, expected',
    [
        (SEG, 'LoadAnnotations', 'training step', 'see LoadAnnotations'),
        (CLS, 'LoadImageFromFile', 'training pipeline', 'LoadImageFromFile'),
        (CLS, 'PackInputs', 'training step', 'does not end with PackInputs'),
    ],
)
def test_transforms_that_are_missing(path, gone, where, expected, config):
    cfg = config(path)
    pipeline = cfg.train_dataloader.dataset.pipeline
    pipeline.remove(steps(cfg)[gone])
    assert expected in only(try_steps(cfg), where)


def test_loss_that_is_not_finite(config):
    cfg = config(CLS)
    cfg.data_preprocessor.std = [0.0, 0.0, 0.0]
    what = only(try_steps(cfg), 'training step')
    assert what.startswith('loss is not finite on the first batch')
    assert 'mean and std' in what


def test_top_5_of_3_classes(config):
    cfg = config(CLS)
    cfg.val_evaluator.topk = (1, 20)
    what = only(try_steps(cfg), 'val_evaluator')
    assert 'Top-20 accuracy is unavailable' in what
    # What follows from the config needs no trial.
    assert only(check_config(cfg), 'val_evaluator.topk').startswith('(1, 20)')


def test_optimizer(config):
    cfg = config(CLS)
    cfg.optim_wrapper.optimizer.lr = -1.0
    assert 'learning rate' in only(try_steps(cfg), 'optimizer step')


@pytest.mark.parametrize('scope', ['', 'mmengine.'])
def test_what_is_left_out(scope, config):
    """Mixed precision, which needs a GPU, and weights from files."""
    cfg = config(CLS)
    cfg.optim_wrapper.type = f'{scope}AmpOptimWrapper'
    cfg.optim_wrapper.loss_scale = 'dynamic'
    cfg.model.backbone.init_cfg = dict(
        type=f'{scope}Pretrained', checkpoint='nowhere.pth'
    )
    assert try_steps(cfg) == []


@pytest.mark.parametrize('options', [[], ['--no-trial']])
def test_command_line(options, config, digit_scenes, call_tool, capsys):
    with pytest.raises(SystemExit) as end:
        call_tool(
            CLI,
            ROOT / CLS,
            '--nproc=1',
            *options,
            '--cfg-options',
            'data_preprocessor.std=[0.,0.,0.]',
            *small_data('mmpretrain', digit_scenes),
            cwd='.',
        )
    assert end.value.code == (0 if options else 1)
    said = capsys.readouterr().out
    assert ('loss is not finite' in said) == (not options)
