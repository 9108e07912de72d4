# Copyright (c) mmfft authors. All rights reserved.
import json

import pytest
from mmengine.config import Config

from mmfft.engine import (
    apply_test_options,
    apply_train_options,
    dump_metrics,
    load_config,
)
from mmfft.errors import ConfigError


@pytest.fixture
def config_file(tmp_path):
    folder = tmp_path / 'configs'
    folder.mkdir()
    file = folder / 'net_1xb8_data.py'
    file.write_text('value = 1\nauto_scale_lr = dict(enable=False)\n')
    return file


def test_load_config_settles_the_work_dir(config_file):
    assert load_config(str(config_file)).work_dir == 'work_dirs/net_1xb8_data'
    cfg = load_config(str(config_file), 'here', dict(value=2), 'slurm')
    assert (cfg.work_dir, cfg.value, cfg.launcher) == ('here', 2, 'slurm')
    config_file.write_text("work_dir = 'mine'\n")
    assert load_config(str(config_file)).work_dir == 'mine'
    assert load_config(str(config_file), 'here').work_dir == 'here'


def test_a_missing_config_names_close_ones(config_file):
    wrong = config_file.with_name('net_1xb9_data.py')
    with pytest.raises(ConfigError) as error:
        load_config(str(wrong))
    assert str(wrong) in str(error.value)
    assert str(config_file) in str(error.value)
    with pytest.raises(ConfigError, match='does not exist$'):
        load_config('nothing-like-it')


def test_the_launcher_must_have_launched_the_process(config_file, monkeypatch):
    monkeypatch.delenv('RANK', raising=False)
    with pytest.raises(ConfigError, match='dist_train.sh'):
        load_config(str(config_file), launcher='pytorch')


def test_train_options(gpu):
    cfg = Config(
        dict(
            optim_wrapper=dict(type='OptimWrapper'),
            auto_scale_lr=dict(base_batch_size=16, enable=False),
            val_cfg=dict(),
            val_dataloader=dict(),
            val_evaluator=dict(),
        )
    )
    apply_train_options(cfg)
    assert cfg.val_cfg is not None and 'resume' not in cfg
    apply_train_options(
        cfg, resume='auto', amp=True, auto_scale_lr=True, no_validate=True
    )
    assert cfg.val_cfg is cfg.val_dataloader is cfg.val_evaluator is None
    assert cfg.optim_wrapper.type == 'AmpOptimWrapper'
    assert cfg.optim_wrapper.loss_scale == 'dynamic'
    assert cfg.auto_scale_lr.enable
    assert cfg.resume and cfg.load_from is None


def test_train_options_that_cannot_be(tmp_path):
    with pytest.raises(ConfigError, match='base_batch_size'):
        apply_train_options(Config(), auto_scale_lr=True)
    with pytest.raises(ConfigError, match="'gone.pth' not found"):
        apply_train_options(Config(), resume='gone.pth')
    checkpoint = tmp_path / 'a.pth'
    checkpoint.touch()
    cfg = Config()
    apply_train_options(cfg, resume=str(checkpoint))
    assert cfg.load_from == str(checkpoint) and cfg.resume


def test_mixed_precision_needs_a_gpu(no_gpu):
    cfg = Config(dict(optim_wrapper=dict(type='OptimWrapper')))
    with pytest.raises(ConfigError, match='--amp: .* needs a GPU'):
        apply_train_options(cfg, amp=True)
    # The one of the config, too.
    with pytest.raises(ConfigError, match='optim_wrapper.type=OptimWrapper'):
        apply_train_options(cfg)


@pytest.fixture
def checkpoint(tmp_path):
    file = tmp_path / 'a.pth'
    file.touch()
    return str(file)


@pytest.mark.parametrize(
    'hook, expected',
    [
        (
            'DetVisualizationHook',
            lambda cfg: cfg.default_hooks.visualization.test_out_dir,
        ),
        ('SegVisualizationHook', lambda cfg: cfg.visualizer.save_dir),
        (
            'VisualizationHook',
            lambda cfg: cfg.default_hooks.visualization.out_dir,
        ),
    ],
)
def test_show_dir_in_each_toolbox(checkpoint, hook, expected):
    cfg = Config(
        dict(
            default_hooks=dict(visualization=dict(type=hook)),
            visualizer=dict(),
        )
    )
    apply_test_options(cfg, checkpoint, show_dir='pictures')
    assert expected(cfg) == 'pictures'
    hook = cfg.default_hooks.visualization
    assert hook.get('draw') or hook.get('enable')
    assert not hook.show


def test_predictions_and_metrics(checkpoint, tmp_path):
    cfg = Config(
        dict(default_scope='mmdet', test_evaluator=dict(type='CocoMetric'))
    )
    out = [str(tmp_path / 'm' / 'a.json'), str(tmp_path / 'p' / 'a.pkl')]
    apply_test_options(cfg, checkpoint, out)
    assert [e.type for e in cfg.test_evaluator] == [
        'CocoMetric',
        'DumpDetResults',
    ]
    dump_metrics(dict(mIoU=0.5), out)
    assert json.loads((tmp_path / 'm' / 'a.json').read_text()) == {'mIoU': 0.5}
    with pytest.raises(ConfigError, match=r"'a.txt' must end with .json"):
        apply_test_options(cfg, checkpoint, ['a.txt'])


def loader(**dataset):
    return dict(dataset=dataset)


def test_tta(checkpoint):
    pack = dict(type='Pack', meta_keys=('img_shape',))
    pipeline = [dict(type='Load'), pack]
    net = dict(model=dict(type='Net'))
    cfg = Config(dict(net, test_dataloader=loader(pipeline=pipeline)))
    with pytest.raises(ConfigError, match='--tta needs tta_model'):
        apply_test_options(cfg, checkpoint, tta=True)
    cfg.tta_model = dict(type='TTA')
    apply_test_options(cfg, checkpoint, tta=True)
    assert cfg.model.type == 'TTA' and cfg.model.module.type == 'Net'
    load, both = cfg.test_dataloader.dataset.pipeline
    (image, mirrored), (packed,) = both.transforms
    assert load.type == 'Load' and both.type == 'TestTimeAug'
    assert (image.prob, mirrored.prob) == (0, 1)
    assert packed.meta_keys == ('img_shape', 'flip', 'flip_direction')
    # The config's own pipeline, in each of several data sets.
    cfg = Config(
        dict(
            net,
            tta_model=dict(type='TTA'),
            tta_pipeline=[dict(type='Own')],
            test_dataloader=loader(
                datasets=[dict(pipeline=pipeline), dict(pipeline=pipeline)]
            ),
        )
    )
    apply_test_options(cfg, checkpoint, tta=True)
    for dataset in cfg.test_dataloader.dataset.datasets:
        assert dataset.pipeline == [dict(type='Own')]


def test_tta_of_masks(checkpoint):
    cfg = Config(
        dict(
            model=dict(roi_head=dict(mask_head=dict(type='Head'))),
            tta_model=dict(type='TTA'),
            test_dataloader=loader(pipeline=[dict(type='Pack')]),
        )
    )
    with pytest.raises(ConfigError, match='mask_head=None'):
        apply_test_options(cfg, checkpoint, tta=True)
    cfg.model.roi_head.mask_head = None
    apply_test_options(cfg, checkpoint, tta=True)
    assert cfg.model.type == 'TTA'


def test_test_options_that_cannot_be(checkpoint):
    with pytest.raises(ConfigError, match="'gone.pth' does not exist"):
        apply_test_options(Config(), 'gone.pth')
    with pytest.raises(ConfigError, match='default_hooks.visualization'):
        apply_test_options(Config(), checkpoint, show=True)
