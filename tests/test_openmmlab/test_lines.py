# Copyright (c) mmfft authors. All rights reserved.
"""What is said of distributions that do not go together; all are made up."""

import os
import subprocess
import sys

import pytest
from conftest import Site

from mmfft.openmmlab import lines

# The assertions as the toolboxes have them: mmdet and mmpretrain, mmseg.
MMDET = """
mmcv_minimum_version = '2.0.0rc4'
mmcv_maximum_version = '2.2.0'
raise SystemExit('a toolbox was imported')
"""
MMSEG = "MMCV_MIN = '2.0.0rc4'\nMMCV_MAX = '2.2.0'\nMMENGINE_MAX = '1.0.0'\n"


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
    assert 'pip install onedl-mmcv onedl-mmdetection (or mm' in message
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
        assert f'{module} does not accept mmcv {version}' in message
        assert "pip install 'mmcv>=2.0.0rc4,<2.2.0'" in message


def test_a_toolbox_without_an_assertion(site):
    site.install('onedl-mmcv', '9.0')
    site.install('onedl-mmdetection')
    site.module('mmdet')
    assert lines.conflicts() == []


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
