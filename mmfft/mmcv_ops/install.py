# Copyright (c) mmfft authors. All rights reserved.
"""Add the light ops to an installed mmcv, or compile its own."""

import os
import shutil
import subprocess
import sysconfig
import tempfile
import time
from pathlib import Path

from ..errors import ConfigError
from . import compiled_files, mmcv_folder

# Finds mmfft without importing it, which would import mmcv.
_STAND_IN = """\
# Written by `python -m mmfft.mmcv_ops light`. Compiled ops have precedence.
import sys
from importlib.util import (
    find_spec,
    module_from_spec,
    spec_from_file_location,
)

_mmfft = find_spec('mmfft')
if _mmfft is None:
    raise ImportError(
        'mmfft, whose light ops stand in for those of mmcv, is not installed'
    )
_folder = f'{_mmfft.submodule_search_locations[0]}/mmcv_ops/ext'
_spec = spec_from_file_location(
    __name__,
    f'{_folder}/__init__.py',
    submodule_search_locations=[_folder],
)
_module = sys.modules[__name__] = module_from_spec(_spec)
_spec.loader.exec_module(_module)
"""

# Names that several of mmcv's files define, which are compiled as one file
# here, and macros that one of them leaves defined.
_SHARED_NAMES = ('PreCalc', 'add', 'bilinear_interpolate_gradient')
_LEFT_BEHIND = ('min', 'max')
_HEADERS = (
    'ATen/TensorUtils.h',
    'pytorch_cpp_helper.hpp',
    'pytorch_device_registry.hpp',
)


def install_light_ops() -> None:
    """Write ``mmcv/_ext.py``, so that every program finds the light ops.

    Compiled ops, which would take precedence, are deleted; each deleted file
    is printed.
    """
    for file in compiled_files():
        file.unlink()
        print(f'deleted {file}')
    (mmcv_folder() / '_ext.py').write_text(_STAND_IN, encoding='utf-8')


def compile_ops() -> None:
    """Compile the ops of mmcv from the sources that come with it.

    CPU ops are always compiled, CUDA ops if PyTorch sees a GPU and nvcc is
    installed, or if the environment variable ``FORCE_CUDA`` is 1. PyTorch's
    ``MAX_JOBS`` and ``TORCH_CUDA_ARCH_LIST`` apply.

    Raises:
        ConfigError: If there are no sources or no compiler, or the compiler
            fails.
    """
    # Slow to import, and needed only here.
    from torch.utils import cpp_extension

    mmcv = mmcv_folder()
    csrc = mmcv / 'ops' / 'csrc'
    if not csrc.is_dir():
        raise ConfigError(
            f'{mmcv} has no sources of ops (ops/csrc): install onedl-mmcv, or '
            'mmcv instead of mmcv-lite'
        )
    compiler = cpp_extension.get_cxx_compiler()
    if shutil.which(compiler) is None:
        raise ConfigError(
            f'no C++ compiler {compiler!r}. Debian: apt-get install g++; '
            'Fedora: dnf install gcc-c++; or set CXX=...'
        )
    header = Path(sysconfig.get_path('include'), 'Python.h')
    if not header.is_file():
        raise ConfigError(
            f'{header} is missing. Debian: apt-get install python3-dev; '
            'Fedora: dnf install python3-devel'
        )
    if not cpp_extension.is_ninja_available():
        raise ConfigError('ninja is missing: pip install ninja')
    cuda = _with_cuda(cpp_extension)
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix='mmcv_ops_') as folder:
        sources = _sources(csrc, Path(folder), cuda)
        print(
            f'compiling the ops of mmcv for the CPU{" and CUDA" * cuda}: '
            f'{len(sources)} files',
            flush=True,
        )
        macros = ['-DMMCV_WITH_CUDA'] if cuda else []
        try:
            cpp_extension.load(
                '_ext',
                [str(source) for source in sources],
                extra_cflags=['-O2', *macros],
                extra_cuda_cflags=[*macros, *_CUDA_FLAGS],
                extra_include_paths=[
                    str(csrc / sub)
                    for sub in ('.', 'common', 'common/cuda', 'pytorch')
                ],
                build_directory=folder,
                with_cuda=cuda,
                is_python_module=False,
            )
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            print(error)
            raise ConfigError(
                'the compiler failed; its output is above'
            ) from error
        target = mmcv / f'_ext{sysconfig.get_config_var("EXT_SUFFIX")}'
        # Replaced in one step, since another process may have it open.
        partial = target.with_suffix('.partial')
        shutil.copyfile(Path(folder, '_ext.so'), partial)
        os.replace(partial, target)
    print(f'wrote {target} in {time.monotonic() - begin:.0f} s')


_CUDA_FLAGS = (
    '-D__CUDA_NO_HALF_OPERATORS__',
    '-D__CUDA_NO_HALF_CONVERSIONS__',
    '-D__CUDA_NO_HALF2_OPERATORS__',
)


def _with_cuda(cpp_extension) -> bool:
    import torch

    wanted = torch.cuda.is_available() or os.getenv('FORCE_CUDA') == '1'
    if not wanted:
        return False
    if cpp_extension.CUDA_HOME is None:
        if os.getenv('FORCE_CUDA') == '1':
            raise ConfigError(
                'FORCE_CUDA=1, but there is no nvcc: install the CUDA toolkit '
                f'{torch.version.cuda}, or set CUDA_HOME=...'
            )
        print('there is a GPU but no nvcc (CUDA toolkit): CPU ops only')
        return False
    return True


def _sources(csrc: Path, folder: Path, cuda: bool) -> list[Path]:
    """List the files to compile, with mmcv's CPU files merged into two.

    Reading PyTorch's headers takes most of the time for each file: two files
    take 2 minutes on one core, mmcv's own 77 files take 20.
    """
    pytorch = csrc / 'pytorch'
    binding = pytorch / 'pybind.cpp'
    front = sorted(set(pytorch.glob('*.cpp')) - {binding})
    sources = [
        _gather(folder / 'front.cpp', front),
        _gather(folder / 'cpu.cpp', sorted((pytorch / 'cpu').glob('*.cpp'))),
        binding,
    ]
    if cuda:
        sources += sorted((pytorch / 'cuda').glob('*.cu'))
        sources += sorted((pytorch / 'cuda').glob('*.cpp'))
    return sources


def _gather(target: Path, files: list[Path]) -> Path:
    lines = [f'#include <{header}>' for header in _HEADERS]
    for file in files:
        own = [f'{name} {name}_of_{file.stem}' for name in _SHARED_NAMES]
        lines += [f'#define {names}' for names in own]
        lines += [f'#include "{file}"']
        lines += [f'#undef {name}' for name in _SHARED_NAMES + _LEFT_BEHIND]
    target.write_text('\n'.join(lines) + '\n', encoding='utf-8')
    return target
