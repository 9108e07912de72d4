# Copyright (c) mmfft authors. All rights reserved.
"""Configs that are named, not where they lie."""

import shlex
from pathlib import Path

import pytest
from conftest import ROOT
from mmengine.config import Config, utils
from mmengine.hub import get_config
from mmengine.registry import MODELS, init_default_scope

import mmfft
from mmfft.engine import load_config
from mmfft.errors import ConfigError
from mmfft.openmmlab import config_names

OURS = 'mmfft::'
DET = 'demo/mask-rcnn_cdfformer-nano_fpn_1xb4-3e_digit-scenes.py'
OF_TOOLBOXES = dict(
    mmdet='mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
    mmpretrain='resnet/resnet50_8xb32_in1k.py',
    mmseg='sem_fpn/fpn_r50_4xb4-160k_ade20k-512x512.py',
)


@pytest.fixture
def config_on(tmp_path, monkeypatch):
    """A config in an otherwise empty folder, which is the current one."""
    monkeypatch.chdir(tmp_path)

    def write(base):
        (tmp_path / 'x.py').write_text(f'_base_ = {base!r}\n')
        return Config.fromfile('x.py')

    return write


def test_a_config_of_ours_is_a_base(config_on):
    cfg = config_on(OURS + DET)
    assert cfg.to_dict() == Config.fromfile(ROOT / 'configs' / DET).to_dict()
    # A scope `mmfft` would hide what is mmdet's.
    init_default_scope(cfg.default_scope)
    detector = MODELS.build(cfg.model)
    assert type(detector).__module__.startswith('mmdet.')
    assert type(detector.backbone).__module__.startswith('mmfft.')


@pytest.mark.parametrize('toolbox', OF_TOOLBOXES)
def test_a_config_of_a_toolbox_is_a_base(toolbox, config_on):
    cfg = config_on(f'{toolbox}::{OF_TOOLBOXES[toolbox]}')
    assert cfg.model._scope_ == toolbox


def installs_nothing(*args, **kwargs):
    raise AssertionError('mmengine installs a package')


def test_get_config(monkeypatch):
    if not Path(mmfft.__file__).with_name('.mim').exists():
        pytest.skip('this mmfft is not installed')
    monkeypatch.setattr(
        'mmengine.utils.package_utils.call_command', installs_nothing
    )
    name = 'cdfformer/cdfformer-s18_8xb128_in1k.py'
    cfg = get_config(OURS + name, pretrained=True)
    assert cfg.pop('model_path') == 'mmfft://cdfformer-s18_in1k'
    same = Config.fromfile(ROOT / 'configs' / name)
    assert cfg.to_dict() == same.to_dict()
    assert get_config(OURS + DET).default_scope == 'mmdet'
    assert get_config(f'mmseg::{OF_TOOLBOXES["mmseg"]}').model


def test_a_wrong_name_shows_close_ones(config_on):
    with pytest.raises(ConfigError) as e:
        config_on(OURS + DET.replace('3e', '9e'))
    similar = str(e.value).partition('similar names: ')[2].split(', ')
    assert OURS + DET in similar
    unlike = 'mmfft::zzzzzzzzzzzzzzzz.py'
    with pytest.raises(ConfigError, match=f"'{unlike}' does not exist$"):
        config_on(unlike)


def test_a_package_without_configs(monkeypatch, tmp_path):
    file = tmp_path / 'mmfft' / 'openmmlab' / 'config_names.py'
    monkeypatch.setattr(config_names, '__file__', str(file))
    assert config_names.mim_folder() is None
    with pytest.raises(ConfigError, match='came without its configs'):
        config_names.config_file(OURS + DET)
    # What pip installs wins over a checkout around it.
    for folder in (tmp_path, tmp_path / 'mmfft' / '.mim'):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / 'model-index.yml').touch()
        assert config_names.mim_folder() == folder


def test_the_command_lines_take_a_name():
    cfg = load_config(OURS + DET)
    assert cfg.work_dir.endswith('3e_digit-scenes')
    with pytest.raises(ConfigError, match='similar names: mmfft::demo/'):
        load_config(OURS + DET.replace('3e', '9e'))


def test_a_command_of_a_config_names_the_installed_tool(tmp_path, monkeypatch):
    command = 'python tools/dataset_converters/digit_scenes.py --out-dir x'
    monkeypatch.chdir(ROOT)
    assert config_names.with_our_tools(command) == command
    monkeypatch.chdir(tmp_path)
    found = config_names.with_our_tools(command)
    python, tool, *rest = shlex.split(found)
    assert Path(tool).is_absolute()
    ours = ROOT / 'tools' / 'dataset_converters' / 'digit_scenes.py'
    assert Path(tool).read_bytes() == ours.read_bytes()
    assert [python, *rest] == ['python', '--out-dir', 'x']
    command = 'python tools/of_another.py'
    assert config_names.with_our_tools(command) == command


@pytest.mark.parametrize(
    'installed, mended',
    [
        (['onedl-mmsegmentation'], True),
        (['mmsegmentation'], False),
        (['onedl-mmsegmentation', 'mmsegmentation'], False),
        ([], False),
    ],
)
def test_where_mmseg_is_found(installed, mended, monkeypatch):
    found = {**utils.MODULE2PACKAGE, 'mmseg': 'mmsegmentation'}
    monkeypatch.setattr(config_names, 'MODULE2PACKAGE', found)
    monkeypatch.setattr(Config, '_get_cfg_path', Config._get_cfg_path)
    monkeypatch.setattr(config_names, 'installed', lambda _: installed)
    config_names.register_config_names()
    assert found['mmseg'] == ('mmseg' if mended else 'mmsegmentation')
