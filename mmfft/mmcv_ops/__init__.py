# Copyright (c) mmfft authors. All rights reserved.
"""The operators of mmcv: compiled ones, or light ones from torchvision.

mmdet, and the original mmseg, import ``mmcv.ops``, which needs a compiled
module ``mmcv._ext``. If mmcv was installed without a compiler there is none,
and :mod:`mmfft.mmcv_ops.ext` takes its place, in two ways:

- :func:`provide`, which ``import mmfft`` calls, adds a finder after Python's
  own: it is asked for ``mmcv._ext`` only if nothing else provides it.
- ``python -m mmfft.mmcv_ops light`` writes a file ``mmcv/_ext.py``, so that
  programs which import a toolbox before mmfft find the light ops, too. ``make
  install`` does this.

Compiled ops take precedence over both.
"""

import importlib
import importlib.util
import sys
import warnings
from importlib.abc import MetaPathFinder
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec
from pathlib import Path

from ..errors import ConfigError
from ..openmmlab.lines import installed, installed_line

EXTENSION = 'mmcv._ext'
_FOLDER = Path(__file__).parent / 'ext'

# The toolboxes that do not work without mmcv's ops. The original mmseg imports
# them for a loss; OneDL's does not need them.
_NEED_OPS = {'mmdet': ('onedl', 'upstream'), 'mmseg': ('upstream',)}

# Modules that import mmcv.ops; OneDL's carry on if the ops are missing.
_IMPORT_OPS = ('mmdet.models', 'mmdet.utils', 'mmseg.models')


class LightOpsFinder(MetaPathFinder):
    """Import finder that maps the name ``mmcv._ext`` to the light ops."""

    def find_spec(
        self, fullname: str, path=None, target=None
    ) -> ModuleSpec | None:
        """Answer for ``mmcv._ext`` only."""
        if fullname != EXTENSION:
            return None
        return importlib.util.spec_from_file_location(
            fullname,
            _FOLDER / '__init__.py',
            submodule_search_locations=[str(_FOLDER)],
        )


def provide() -> None:
    """Make ``import mmcv._ext`` find the light ops if it finds nothing else.

    Warns if that comes too late: OneDL's toolboxes, once imported without ops,
    keep functions that raise an error when they are called.
    """
    if any(isinstance(finder, LightOpsFinder) for finder in sys.meta_path):
        return
    early = [name for name in _IMPORT_OPS if name in sys.modules]
    if early and importlib.util.find_spec(EXTENSION) is None:
        toolbox = early[0].partition('.')[0]
        warnings.warn(
            f'{toolbox} was imported before mmfft and found no ops of mmcv, '
            'so its detectors will not run: import mmfft first, or run '
            '`python -m mmfft.mmcv_ops light` once',
            stacklevel=3,
        )
    sys.meta_path.append(LightOpsFinder())


def compiled_files() -> list[Path]:
    """Find the compiled ops of mmcv, without importing anything.

    Returns:
        list[Path]: Paths of the files; at most one if mmcv is installed
        properly.
    """
    folder = mmcv_folder()
    files = [folder / f'_ext{suffix}' for suffix in EXTENSION_SUFFIXES]
    return [file for file in files if file.is_file()]


def mmcv_folder() -> Path:
    """Find where mmcv is installed.

    Returns:
        Path: Folder of its ``__init__.py``.

    Raises:
        ConfigError: If mmcv is not installed.
    """
    spec = importlib.util.find_spec('mmcv')
    if spec is None or not spec.origin:
        raise ConfigError(
            'mmcv is not installed: pip install onedl-mmcv, or `make install` '
            'in a checkout'
        )
    return Path(spec.origin).parent


def describe() -> str:
    """Describe which ops are in use, for reports of the environment.

    Returns:
        str: ``'compiled (...)'`` with the compilers, ``'light (...)'`` with
        the version of torchvision, or ``'none (...)'`` with the reason.
    """
    provide()
    try:
        module = importlib.import_module(EXTENSION)
    except ImportError as error:
        return f'none ({error})'
    if hasattr(module, 'TORCHVISION'):
        return f'light (torchvision {module.TORCHVISION})'
    cuda = module.get_compiling_cuda_version()
    return f'compiled ({module.get_compiler_version()}, CUDA {cuda})'


def check_ops(scope: str | None) -> None:
    """Check that the ops that a toolbox needs can be loaded.

    Args:
        scope (str, optional): ``default_scope`` of a config.

    Raises:
        ConfigError: If they cannot be loaded, for example because they were
            compiled for another PyTorch or torchvision is missing.
    """
    if not installed('mmcv'):
        return
    if installed_line() not in _NEED_OPS.get(scope, ()):
        return
    provide()
    try:
        importlib.import_module(EXTENSION)
    except ImportError as error:
        raise ConfigError(
            f'{scope} needs the ops of mmcv, which do not load ({error}): '
            'compile them for this PyTorch with `python -m mmfft.mmcv_ops '
            'compile`, or use those of torchvision with `python -m '
            'mmfft.mmcv_ops light`'
        ) from error
