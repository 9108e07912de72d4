# Copyright (c) mmfft authors. All rights reserved.
"""The configs in the README train, each in a new folder."""

import json
import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import ROOT, small_data
from mmengine.config import Config

README = (ROOT / 'README.md').read_text()
CONFIGS = dict(
    re.findall(r'`(my_[\w-]+\.py)`.*?```python\n(.*?)```', README, re.S)
)
ONE_STEP = dict(
    mmdet=[
        'train_cfg.max_epochs=1',
        'model.backbone.img_size=128',
        'train_dataloader.dataset.ann_file=as_coco.json',
        'train_dataloader.dataset.data_prefix.img=images/validation/',
        'train_dataloader.dataset.pipeline.2.scale=(128,96)',
    ],
    mmpretrain=[
        'train_cfg.max_epochs=1',
        'train_dataloader.dataset.type=CustomDataset',
        'train_dataloader.dataset.data_prefix=crops/val',
        'train_dataloader.dataset.split=',
        'train_dataloader.dataset.pipeline.1.scale=64',
    ],
    mmseg=[
        'train_cfg.max_iters=1',
        'train_dataloader.dataset.type=BaseSegDataset',
        'train_dataloader.dataset.img_suffix=.png',
        'train_dataloader.dataset.data_prefix.img_path=images/validation',
        'train_dataloader.dataset.data_prefix.seg_map_path='
        'annotations/validation',
        'model.decode_head.norm_cfg.type=BN',
    ],
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


@pytest.mark.parametrize('name', CONFIGS)
def test_a_config_of_the_readme_trains(name, tmp_path, digit_scenes, run_tool):
    text = CONFIGS[name]
    toolbox = toolbox_of(text)
    # The reader's checkout of mmsegmentation: its configs are in the wheel.
    package = Path(find_spec('mmseg').origin).parent
    (tmp_path / 'mmsegmentation').symlink_to(package / '.mim')
    (tmp_path / name).write_text(text)
    if toolbox == 'mmdet':
        write_as_coco(digit_scenes / 'scenes')
    options = [
        option
        for option in small_data(toolbox, digit_scenes)
        if option.startswith('train_')
    ]
    run_tool(
        'train.py',
        name,
        '--no-validate',
        '--cfg-options',
        *options,
        *ONE_STEP[toolbox],
        cwd=tmp_path,
    )
    assert (tmp_path / 'work_dirs' / Path(name).stem).is_dir()


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
