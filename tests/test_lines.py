# Copyright (c) mmfft authors. All rights reserved.
"""What is said of distributions that do not go together; all are made up."""

import importlib
import os
import subprocess
import sys

import pytest

from mmfft import lines
from mmfft.engine import load_config
from mmfft.errors import ConfigError

# The assertions as the toolboxes have them: mmdet and mmpretrain, mmseg.
MMDET = """
mmcv_minimum_version = '2.0.0rc4'
mmcv_maximum_version = '2.2.0'
raise SystemExit('a toolbox was imported')
"""
MMSEG = "MMCV_MIN = '2.0.0rc4'\nMMCV_MAX = '2.2.0'\nMMENGINE_MAX = '1.0.0'\n"
NO_BOUNDS = "__all__ = ['__version__']\n"


class Site:
    """A folder with made-up distributions and modules."""

    def __init__(self, folder):
        self.folder = folder

    def install(self, name, version='1.0'):
        info = self.folder / f'{name.replace("-", "_")}-{version}.dist-info'
        info.mkdir()
        (info / 'METADATA').write_text(
            f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n'
        )

    def module(self, name, text=NO_BOUNDS):
        (self.folder / name).mkdir()
        (self.folder / name / '__init__.py').write_text(text)


def openmmlab():
    names = lines.DISTRIBUTIONS
    return [m for m in sys.modules if m.partition('.')[0] in names]


@pytest.fixture
def site(tmp_path, monkeypatch):
    """The only place where packages are looked for."""
    for module in openmmlab():
        monkeypatch.delitem(sys.modules, module)
    others = [p for p in sys.path if 'site-packages' not in p]
    monkeypatch.setattr(sys, 'path', [str(tmp_path), *others])
    importlib.invalidate_caches()
    yield Site(tmp_path)
    for module in openmmlab():
        del sys.modules[module]


def test_nothing_is_wrong_with_this_environment():
    assert lines.conflicts() == []


@pytest.mark.parametrize('line', [0, 1], ids=['onedl', 'upstream'])
def test_one_line_alone_is_good(site, line):
    for names in lines.DISTRIBUTIONS.values():
        site.install(names[line], '2.1.0')
    for module in ('mmdet', 'mmseg', 'mmpretrain'):
        site.module(module, MMDET)
    assert lines.conflicts() == []
    assert lines.installed_line() == ['onedl', 'upstream'][line]


def test_both_lines_at_once(site):
    for name in ('onedl-mmcv', 'mmcv', 'onedl-mmdetection', 'mmdet'):
        site.install(name)
    site.install('mmsegmentation')
    (message,) = lines.conflicts()
    assert 'onedl-mmcv and mmcv, onedl-mmdetection and mmdet are' in message
    assert 'pip uninstall -y onedl-mmcv mmcv onedl-mmdetection mmdet' in (
        message
    )
    assert (
        'install --no-build-isolation onedl-mmcv onedl-mmdetection (or mm'
        in (message)
    )
    assert 'mmsegmentation' not in message


@pytest.mark.parametrize(
    ('module', 'name', 'text'),
    [('mmdet', 'mmdet', MMDET), ('mmseg', 'mmsegmentation', MMSEG)],
)
@pytest.mark.parametrize(
    ('version', 'refused'),
    [('2.0.0rc4', False), ('2.1.0', False), ('2.2.0', True), ('1.7.2', True)],
)
def test_a_toolbox_that_refuses_this_mmcv(
    site, module, name, text, version, refused
):
    site.install('mmcv', version)
    site.install(name)
    site.module(module, text)
    messages = lines.conflicts()
    assert len(messages) == refused
    for message in messages:
        assert f'{module} refuses mmcv {version}' in message
        assert "pip install --no-build-isolation 'mmcv>=2.0.0rc4,<2.2.0'" in (
            message
        )


def test_a_toolbox_without_an_assertion(site):
    site.install('onedl-mmcv', '9.0')
    site.install('onedl-mmdetection')
    site.module('mmdet')
    assert lines.conflicts() == []


@pytest.mark.parametrize(
    ('scope', 'line', 'needs'),
    [
        ('mmdet', 0, True),
        ('mmdet', 1, True),
        ('mmseg', 0, False),
        ('mmseg', 1, True),
        ('mmpretrain', 1, False),
        (None, 1, False),
    ],
)
def test_ops_that_were_not_compiled(site, tmp_path, scope, line, needs):
    for module in ('mmengine', 'mmcv'):
        site.install(lines.DISTRIBUTIONS[module][line], '2.1.0')
    site.module('mmcv')
    if not needs:
        lines.check_compiled_ops(scope)
        return
    with pytest.raises(
        ConfigError, match=r"No module named 'mmcv\._ext'"
    ) as e:
        lines.check_compiled_ops(scope)
    name = ['onedl-mmcv', 'mmcv'][line]
    assert str(e.value).endswith(f'--no-deps {name}==2.1.0')
    # What the message asks for is what helps.
    (tmp_path / 'mmcv' / '_ext.py').touch()
    importlib.invalidate_caches()
    lines.check_compiled_ops(scope)


def test_ops_compiled_for_another_pytorch(site, tmp_path):
    site.install('mmcv-lite', '2.1.0')
    site.module('mmcv')
    (tmp_path / 'mmcv' / '_ext.py').write_text(
        "raise ImportError('undefined symbol: _ZN2at')"
    )
    with pytest.raises(ConfigError, match='undefined symbol') as e:
        lines.check_compiled_ops('mmdet')
    assert 'pip uninstall -y mmcv-lite && ' in str(e.value)
    assert str(e.value).endswith(' mmcv==2.1.0')


def test_the_command_lines_ask_for_ops(tmp_path, monkeypatch):
    config = tmp_path / 'config.py'
    config.write_text("default_scope = 'mmdet'\n")
    load_config(str(config))
    monkeypatch.setitem(sys.modules, 'mmcv._ext', None)
    with pytest.raises(ConfigError, match='mmdet needs the compiled ops'):
        load_config(str(config))
    config.write_text("default_scope = 'mmpretrain'\n")
    load_config(str(config))


def test_importing_mmfft_warns(tmp_path):
    """Beside what is installed, the other line's mmcv."""
    other = {'onedl': 'mmcv', 'upstream': 'onedl-mmcv'}
    Site(tmp_path).install(other[lines.installed_line()])
    path = os.pathsep.join([str(tmp_path), os.environ.get('PYTHONPATH', '')])
    result = subprocess.run(
        [sys.executable, '-c', 'import mmfft; print(mmfft.__version__)'],
        env={**os.environ, 'PYTHONPATH': path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert 'onedl-mmcv and mmcv are installed together' in result.stderr
