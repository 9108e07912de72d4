# Copyright (c) mmfft authors. All rights reserved.
"""The configs in the README train, each in a new folder."""

import json
import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import ROOT
from mmengine.config import Config

README = (ROOT / 'README.md').read_text()
CONFIGS = dict(
    re.findall(r'`(my_[\w-]+\.py)`.*?```python\n(.*?)```', README, re.S)
)
# What makes each of them one quick step on a few pictures of DigitScenes.
SMALL = dict(
    mmdet="""
train_cfg = dict(max_epochs=1)
model = dict(backbone=dict(img_size=128))
train_dataloader = dict(
    num_workers=0, persistent_workers=False, batch_size=2,
    dataset=dict(
        data_root={root!r}, ann_file='as_coco.json',
        data_prefix=dict(img='images/validation/')))
""",
    mmpretrain="""
train_cfg = dict(max_epochs=1)
train_dataloader = dict(
    num_workers=0, persistent_workers=False, batch_size=10,
    dataset=dict(
        _delete_=True, type='CustomDataset', data_root={root!r},
        data_prefix='crops/val',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='PackInputs')]))
""",
    mmseg="""
train_cfg = dict(max_iters=1)
model = dict(
    data_preprocessor=dict(size=(192, 256)),
    decode_head=dict(norm_cfg=dict(type='BN')))
train_dataloader = dict(
    num_workers=0, persistent_workers=False, batch_size=2,
    dataset=dict(
        _delete_=True, type='BaseSegDataset', data_root={root!r},
        img_suffix='.png', metainfo=dict(classes=tuple('-0123456789')),
        data_prefix=dict(
            img_path='images/validation',
            seg_map_path='annotations/validation'),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations'),
            dict(type='PackSegInputs')]))
""",
)


def toolbox_of(text):
    return next(
        toolbox
        for toolbox, base in [
            ('mmdet', 'mmdet::'),
            ('mmpretrain', 'mmpretrain::'),
            ('mmseg', 'mmsegmentation/'),
        ]
        if base in text
    )


def test_there_is_one_for_each_toolbox():
    assert sorted(map(toolbox_of, CONFIGS.values())) == [
        'mmdet',
        'mmpretrain',
        'mmseg',
    ]


def write_as_coco(scenes):
    """Give the digits names of COCO's classes, which the config expects."""
    from mmdet.datasets import CocoDataset

    truth = scenes / 'annotations' / 'instances_validation.json'
    coco = json.loads(truth.read_text())
    for category, name in zip(
        coco['categories'], CocoDataset.METAINFO['classes']
    ):
        category['name'] = name
    (scenes / 'as_coco.json').write_text(json.dumps(coco))


@pytest.mark.slow
@pytest.mark.parametrize('name', CONFIGS)
def test_a_config_of_the_readme_trains(name, tmp_path, digit_scenes, run_tool):
    text = CONFIGS[name]
    toolbox = toolbox_of(text)
    # The reader's checkout of mmsegmentation: its configs are in the wheel.
    package = Path(find_spec('mmseg').origin).parent
    (tmp_path / 'mmsegmentation').symlink_to(package / '.mim')
    (tmp_path / name).write_text(text)
    root = digit_scenes
    if toolbox != 'mmpretrain':
        root = digit_scenes / 'scenes'
    if toolbox == 'mmdet':
        write_as_coco(root)
    (tmp_path / 'small.py').write_text(
        f'_base_ = {name!r}\n' + SMALL[toolbox].format(root=str(root))
    )
    run_tool('train.py', 'small.py', '--no-validate', cwd=tmp_path)
    assert (tmp_path / 'work_dirs' / 'small' / 'last_checkpoint').is_file()


def test_the_arch_table_is_true():
    from mmfft import backbones

    rows = re.findall(r'\| `mmfft\.(\w+)` \| ([\w, .-]+?) \|', README)
    assert len(rows) == 5
    for name, archs in rows:
        zoo = getattr(backbones, name).arch_zoo
        named = [a for a in archs.split(', ') if a != '...']
        assert set(named) <= set(zoo)
        assert '...' in archs or set(named) == set(zoo)


def test_commands_of_the_readme_exist(run_tool, tmp_path):
    for tool in ('train.py', 'test.py'):
        text = run_tool(tool, '--help', cwd=tmp_path).stdout
        usage = README.split(f'python tools/{tool}')[1].split('python')[0]
        for flag in re.findall(r'--[a-z-]+', usage.split('```')[0]):
            assert flag in text, (tool, flag)


def test_demo_configs_parse():
    files = sorted((ROOT / 'configs' / 'demo').glob('*.py'))
    assert len(files) == 3
    for file in files:
        cfg = Config.fromfile(file)
        batch = int(re.search(r'_1xb(\d+)-', file.name)[1])
        assert cfg.train_dataloader.batch_size == batch
        assert cfg.auto_scale_lr == dict(base_batch_size=batch, enable=False)
