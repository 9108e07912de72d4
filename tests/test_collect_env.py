# Copyright (c) mmfft authors. All rights reserved.
import importlib
import sys

import pytest

from mmfft import collect_env, mmcv_ops
from mmfft.openmmlab import lines
from mmfft.version import __version__


def test_report(monkeypatch, capsys):
    monkeypatch.delenv('MMFFT_PATH', raising=False)
    monkeypatch.setattr(sys, 'argv', ['collect_env'])
    collect_env.main()
    report = dict(
        line.split(': ', 1)
        for line in capsys.readouterr().out.splitlines()
        if ': ' in line
    )
    assert report['PyTorch']  # mmengine's part
    assert report['mmcv ops'] == mmcv_ops.describe()
    assert report['OpenMMLab line'] == lines.installed_line()
    for module in lines.DISTRIBUTIONS:
        name, version = report[module].split()
        assert name in lines.DISTRIBUTIONS[module]
        assert version == importlib.import_module(module).__version__
    assert report['mmfft'].startswith(__version__)

    assert report['MMFFT_PATH'] == 'not set'

    monkeypatch.setattr(sys, 'argv', ['collect_env', '--short'])
    monkeypatch.setenv('MMFFT_PATH', 'triton')
    collect_env.main()
    output = capsys.readouterr().out
    assert 'mmcv ops: ' in output and 'PyTorch: ' not in output
    assert 'MMFFT_PATH: triton\n' in output


def test_what_is_broken_is_said(site, monkeypatch, capsys):
    site.install('onedl-mmcv', '2.3')
    site.module('mmcv', "raise ImportError('no such library')\n")
    monkeypatch.setattr(sys, 'argv', ['collect_env', '--short'])
    with pytest.raises(SystemExit) as e:
        collect_env.main()
    assert e.value.code == 1
    output = capsys.readouterr().out
    assert (
        'mmcv: onedl-mmcv 2.3, does not import: ImportError: no such library'
        in output
    )
    assert 'mmdet: not installed' in output
