# Copyright (c) mmfft authors. All rights reserved.
"""Print a description of this environment, for bug reports."""

import argparse
import importlib
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from .openmmlab import required  # noqa: F401  isort: skip
import torch
from mmengine.utils.dl_utils import collect_env as collect_base_env

from . import mmcv_ops
from .openmmlab.lines import DISTRIBUTIONS, installed, installed_line
from .version import __version__

_FAILS = 'does not import'

# What mmfft uses besides OpenMMLab to compute, export and read data.
_PACKAGES = (
    *('torch', 'torchvision', 'timm', 'numpy', 'triton', 'onnx'),
    *('onnxruntime', 'openvino'),
)


def collect_env() -> dict[str, str]:
    """Combine mmengine's report on machine and PyTorch with ours.

    Ours is that of :func:`mmfft_env`.

    Returns:
        dict[str, str]: Value of each line of the report, by its name.
    """
    base = {key: str(value) for key, value in collect_base_env().items()}
    return {**base, **mmfft_env()}


def mmfft_env() -> dict[str, str]:
    """Describe what mmfft depends on, for the log of every run.

    Returns:
        dict[str, str]: Value of each line of the report, by its name.
    """
    env = {
        'CPU capability': torch.backends.cpu.get_cpu_capability(),
        'CPU threads': str(torch.get_num_threads()),
    }
    for module in DISTRIBUTIONS:
        env[module] = _state_of(module)
    env['OpenMMLab line'] = installed_line()
    env['mmcv ops'] = mmcv_ops.describe()
    for package in _PACKAGES:
        try:
            env[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            env[package] = 'not installed'
    env['MMFFT_PATH'] = os.environ.get('MMFFT_PATH') or 'not set'
    folder = Path(__file__).parent
    env['mmfft'] = f'{__version__}{_commit_of(folder)} ({folder})'
    return env


def _commit_of(folder: Path) -> str:
    if not (folder.parent / '.git').exists():
        return ''
    try:
        commit = subprocess.check_output(
            ['git', '-C', folder, 'describe', '--always', '--dirty'],
            stderr=subprocess.DEVNULL,
            text=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return '+unknown'
    return f'+{commit.strip()}'


def _state_of(module: str) -> str:
    names = [f'{n} {d.version}' for n, d in installed(module).items()]
    if not names:
        return 'not installed'
    try:
        importlib.import_module(module)
    except Exception as error:  # such as a toolbox's check of versions
        names.append(f'{_FAILS}: {type(error).__name__}: {error}')
    return ', '.join(names)


def main() -> None:
    """Print the report; exit with status 1 if something is broken."""
    parser = argparse.ArgumentParser(
        prog='python -m mmfft.collect_env', description=__doc__
    )
    parser.add_argument(
        '--short',
        action='store_true',
        help="leave out mmengine's report on the machine and PyTorch",
    )
    env = mmfft_env() if parser.parse_args().short else collect_env()
    for name, value in env.items():
        print(f'{name}: {value}')
    broken = [name for name, value in env.items() if _FAILS in value]
    if broken or env['mmcv ops'].startswith('none'):
        sys.exit(1)


if __name__ == '__main__':
    main()
