# Copyright (c) mmfft authors. All rights reserved.
import json
import sys

import pytest
from mmengine import registry
from mmengine.config import Config
from mmengine.optim import AmpOptimWrapper
from mmengine.visualization import TensorboardVisBackend

from mmfft.engine import (
    apply_test_options,
    apply_train_options,
    build_runner,
    dump_metrics,
    load_config,
)
from mmfft.errors import ConfigError
from mmfft.openmmlab.scopes import class_of


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


HOOKS = """
{imports}
default_scope = {scope!r}
default_hooks = dict({default})
custom_hooks = [{custom}]
"""


@pytest.mark.parametrize(
    'imports, default, custom',
    [
        ('', '', "dict(type='mmfft.ExactResumeHook')"),
        ('', '', "dict(type='ExactResumeHook')"),
        ('', "resume=dict(type='mmfft.ExactResumeHook')", ''),
        ('', '', "dict(type='mmfft.engine.hooks.ExactResumeHook')"),
        ('', '', "dict(type='mmfft.ExactResumeHook')," * 3),
        (
            'from mmfft.engine import ExactResumeHook',
            '',
            'dict(type=ExactResumeHook)',
        ),
        (
            'from mmengine.hooks import CheckpointHook\n'
            'from mmfft.engine import CheckLoadHook, ExactResumeHook',
            'checkpoint=dict(type=CheckpointHook, interval=3),'
            'load=dict(type=CheckLoadHook)',
            "dict(type=ExactResumeHook, priority='LOWEST')",
        ),
        ('', "checkpoint=dict(type='mmengine.CheckpointHook')", ''),
        ('', "checkpoint=dict(type='mmengine.hooks.CheckpointHook')", ''),
        ('', '', ''),
    ],
)
@pytest.mark.parametrize('scope', ['mmseg', None])
def test_reading_a_config_again_adds_nothing(
    tmp_path, imports, scope, default, custom
):
    file = tmp_path / 'first.py'
    file.write_text(HOOKS.format(**locals()))
    seen = []
    for name in 'abc':
        cfg = load_config(str(file))
        file = tmp_path / f'{name}.py'
        cfg.dump(file)
        hooks = [*cfg.default_hooks.values(), *cfg.custom_hooks]
        found = [class_of(registry.HOOKS, hook, cfg) for hook in hooks]
        assert sorted(cls.__name__ for cls in found) == [
            'AtomicCheckpointHook',
            'BoundHistoryHook',
            'CheckLoadHook',
            'ExactResumeHook',
        ]
        seen.append(cfg.to_dict())
    assert seen[1] == seen[2]


@pytest.mark.parametrize(
    'settings',
    [
        'custom_hooks=None default_hooks=None randomness=None env_cfg=None',
        'auto_scale_lr=None launcher=None log_level=None resume=None',
        'visualizer=None vis_backends=None log_processor=None work_dir=None',
        'model_wrapper_cfg=None param_scheduler=None tta_model=None',
        'default_scope=None val_cfg=None test_cfg=None load_from=None',
        'default_hooks.checkpoint=None default_hooks.visualization=None',
    ],
)
def test_none_is_what_mmengine_does_without_a_setting(
    tmp_path, settings, no_gpu, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    plain = Config(
        dict(
            model=dict(type='mmfft.DFFormer', arch='s18'),
            default_hooks=dict(),
            env_cfg=dict(mp_cfg=dict()),
        )
    )
    plain.model.arch = dict(embed_dims=[8] * 4, depths=[1] * 4)
    plain.dump('plain.py')
    options = {one.partition('=')[0]: None for one in settings.split()}
    cfg = load_config('plain.py', cfg_options=options)
    apply_train_options(cfg)
    with pytest.raises(ConfigError, match='base_batch_size'):
        apply_train_options(cfg, auto_scale_lr=True)
    with pytest.raises(ConfigError, match='--amp needs optim_wrapper'):
        apply_train_options(cfg, amp=True)
    runner = build_runner(cfg)
    names = {type(hook).__name__ for hook in runner.hooks}
    assert {'CheckLoadHook', 'ExactResumeHook', 'LoggerHook'} <= names
    wants_none = 'default_hooks.checkpoint' in options
    assert ('AtomicCheckpointHook' in names) != wants_none


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


@pytest.mark.parametrize('scope', ['mmdet', None])
def test_tensorboard_beside_the_backends_that_there_are(scope, monkeypatch):
    local = dict(type='LocalVisBackend')
    cfg = Config(dict(default_scope=scope))
    for _ in range(2):  # the config of a run with it is not changed
        apply_train_options(cfg, tensorboard=True)
        kinds = [backend.type for backend in cfg.visualizer.vis_backends]
        assert len(kinds) == 2 and kinds[0] == local['type']
        assert class_of(registry.VISBACKENDS, kinds[1], cfg) is (
            TensorboardVisBackend
        )
    visualizer = class_of(registry.VISUALIZERS, cfg.visualizer, cfg).__name__
    assert visualizer == ('DetLocalVisualizer' if scope else 'Visualizer')
    monkeypatch.setitem(sys.modules, 'torch.utils.tensorboard', None)
    with pytest.raises(ConfigError, match=r'--tensorboard.*mmfft\[vis\]'):
        apply_train_options(cfg, tensorboard=True)


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


@pytest.mark.parametrize(
    'kind',
    [
        'AmpOptimWrapper',
        'mmengine.AmpOptimWrapper',
        'mmengine.optim.AmpOptimWrapper',
        AmpOptimWrapper,
    ],
)
def test_mixed_precision_however_it_is_written(no_gpu, kind):
    cfg = Config(dict(optim_wrapper=dict(type=kind)))
    with pytest.raises(ConfigError, match='optim_wrapper.type=OptimWrapper'):
        apply_train_options(cfg)


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


@pytest.mark.parametrize('scope', ['mmpretrain', 'mmdet', 'mmseg'])
@pytest.mark.parametrize('has_hook', [True, False])
def test_show_dir_in_each_toolbox(
    checkpoint, scope, has_hook, tmp_path, monkeypatch
):
    hook = dict(
        mmpretrain='VisualizationHook',
        mmdet='DetVisualizationHook',
        mmseg='SegVisualizationHook',
    )[scope]
    cfg = Config(dict(default_scope=scope))
    if has_hook:
        cfg.default_hooks = dict(visualization=dict(type=hook, interval=7))
    monkeypatch.chdir(tmp_path)
    for _ in range(2):  # the second on what a test has dumped
        apply_test_options(cfg, checkpoint, show_dir='pictures', show_num=3)
        ours = cfg.default_hooks.visualization
        assert ours.type == 'mmfft.ShowHook'
        # The folder that was named, from where the tool was called.
        assert ours.out_dir == str(tmp_path / 'pictures')
        assert ours.num == 3 and not ours.show
        assert ours.hook.type.endswith(hook)
        assert ours.hook.get('interval') == (7 if has_hook else None)
        # mmengine's own visualizer, which is the default, draws nothing.
        assert cfg.visualizer.type.startswith(f'{scope}.')


def test_show_needs_a_display(checkpoint, monkeypatch):
    monkeypatch.setattr('matplotlib.pyplot.get_backend', lambda: 'agg')
    cfg = Config(dict(default_scope='mmseg'))
    with pytest.raises(ConfigError, match='no display.*--show-dir'):
        apply_test_options(cfg, checkpoint, show=True)
    with pytest.raises(ConfigError, match='--show-num needs'):
        apply_test_options(cfg, checkpoint, show_num=2)


@pytest.mark.parametrize('package', ['mmfft', 'mmfft.engine.hooks'])
def test_a_test_loads_and_does_not_resume(checkpoint, package):
    ours = dict(type=f'{package}.CheckLoadHook')
    cfg = Config(dict(resume=True, custom_hooks=[dict(type='Other'), ours]))
    apply_test_options(cfg, checkpoint)
    assert (cfg.load_from, cfg.resume) == (checkpoint, False)
    assert 'allow_missing' not in cfg.custom_hooks[1]
    apply_test_options(cfg, checkpoint, allow_missing=True)
    assert [hook.get('allow_missing') for hook in cfg.custom_hooks] == [
        None,
        True,
    ]


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
    # Again on what a test has dumped: once, not twice.
    apply_test_options(cfg, checkpoint, out)
    assert len(cfg.test_evaluator) == 2
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
    # Again on what a test has dumped.
    before = cfg.to_dict()
    apply_test_options(cfg, checkpoint, tta=True)
    assert cfg.to_dict() == before
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
