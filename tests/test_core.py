# Copyright (c) mmfft authors. All rights reserved.
"""The core by itself: PyTorch and timm, and no OpenMMLab."""

import subprocess
import sys

import pytest

OPENMMLAB = ('mmcv', 'mmdet', 'mmengine', 'mmpretrain', 'mmseg')
ROOMS = ('ops', 'layers', 'models', 'checkpoints', 'timm_models')
# Python takes them for modules that are not there.
BLOCK = f'import sys; sys.modules.update(dict.fromkeys({OPENMMLAB}))\n'


def run(code):
    return subprocess.run(
        [sys.executable, '-W', 'error::UserWarning:mmfft', '-c', code],
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize('room', ROOMS)
def test_a_room_imports_no_openmmlab(room):
    result = run(
        f'{BLOCK}import importlib\n'
        f"importlib.import_module('mmfft.{room}')\n"
        'from pkgutil import walk_packages\n'
        f'import mmfft.{room} as room\n'
        "for module in walk_packages(getattr(room, '__path__', []), "
        "room.__name__ + '.'):\n"
        # Triton's kernels need Triton.
        "    if '.triton_' not in module.name:\n"
        '        importlib.import_module(module.name)\n'
    )
    assert result.returncode == 0, result.stderr


def test_importing_mmfft_is_light():
    """Nothing is imported but mmengine's registries, where it is there."""
    heavy = ('timm', 'torchvision', 'mmengine.runner', *OPENMMLAB[:2])
    for block in (BLOCK, ''):
        result = run(
            f'{block}import sys, mmfft\n'
            f'print(*(m for m in {(*heavy, *OPENMMLAB[3:])} '
            'if sys.modules.get(m)))'
        )
        assert result.returncode == 0, result.stderr
        assert result.stdout.split() == []
    # Not even PyTorch without mmengine.
    result = run(f"{BLOCK}import sys, mmfft; print('torch' in sys.modules)")
    assert result.stdout.strip() == 'False', result.stderr


def test_rooms_are_there_when_asked_for():
    result = run(
        f'{BLOCK}import mmfft\n'
        'model = mmfft.models.GFNet(dict(embed_dim=8, depth=1))\n'
        'print(type(model).__name__, mmfft.ops.PATHS[0])'
    )
    assert result.stdout.split() == ['GFNet', 'fft'], result.stderr
    result = run(f'{BLOCK}import mmfft; mmfft.no_such_room')
    assert "has no attribute 'no_such_room'" in result.stderr


@pytest.mark.parametrize(
    'code',
    [
        'import mmfft.backbones',
        'from mmfft.engine import build_runner',
        'from mmfft import MODELS',
        'import mmfft; mmfft.MODELS',
        'import mmfft; mmfft.heads',
        'import mmfft.deploy',
        'import mmfft.analysis.flops',
        'import mmfft.visualization',
        'import mmfft.datasets.bad_samples',
        'import mmfft.collect_env',
    ],
)
def test_the_extra_is_named(code):
    result = run(BLOCK + code)
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith('ModuleNotFoundError: ')
    assert "pip install 'mmfft[openmmlab]'" in last
    assert 'mmfft[openmmlab-original]' in last


def test_a_broken_mmengine_is_not_called_missing(tmp_path):
    folder = tmp_path / 'mmengine'
    folder.mkdir()
    (folder / '__init__.py').write_text('import no_such_library\n')
    result = run(
        f'import sys; sys.path.insert(0, {str(tmp_path)!r})\n'
        'import mmfft.openmmlab.required'
    )
    assert "No module named 'no_such_library'" in result.stderr
    assert 'pip install' not in result.stderr.splitlines()[-1]
