# Copyright (c) mmfft authors. All rights reserved.
"""The operators of mmcv: compiled ones, or light ones from torchvision.

mmdet, and the original mmseg, import ``mmcv.ops``, which asks for a compiled
module ``mmcv._ext``. Where mmcv was installed without a compiler there is
none, and :mod:`mmfft.mmcv_ops.ext` takes its place. It does so in two ways:

- :func:`provide`, which ``import mmfft`` calls, adds a finder behind Python's
  own: it is asked for ``mmcv._ext`` only if nothing else has it.
- ``python -m mmfft.mmcv_ops light`` writes a file ``mmcv/_ext.py``, so that
  programs which import a toolbox before mmfft find the light ops, too. ``make
  install`` does this.

Compiled ops win over both.
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
# them for a loss; OneDL's does without.
_NEED_OPS = {'mmdet': ('onedl', 'upstream'), 'mmseg': ('upstream',)}

# Modules that import mmcv.ops; OneDL's go on without where they are missing.
_IMPORT_OPS = ('mmdet.models', 'mmdet.utils', 'mmseg.models')


class LightOpsFinder(MetaPathFinder):
    """Python's way from the name ``mmcv._ext`` to the light ops."""

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

    Warns where that comes too late: OneDL's toolboxes, imported without ops,
    keep functions that raise when they are called.
    """
    if any(isinstance(finder, LightOpsFinder) for finder in sys.meta_path):
        return
    early = [name for name in _IMPORT_OPS if name in sys.modules]
    if early and importlib.util.find_spec(EXTENSION) is None:
        toolbox = early[0].partition('.')[0]
        warnings.warn(
            f'{toolbox} was imported before mmfft and found no ops of mmcv, '
            'so its detectors will not run: import mmfft first, or run once '
            '`python -m mmfft.mmcv_ops light`',
            stacklevel=3,
        )
    sys.meta_path.append(LightOpsFinder())


def compiled_files() -> list[Path]:
    """The compiled ops of mmcv, without importing anything.

    Returns:
        list[Path]: Files, none or one where mmcv is installed properly.
    """
    folder = mmcv_folder()
    files = [folder / f'_ext{suffix}' for suffix in EXTENSION_SUFFIXES]
    return [file for file in files if file.is_file()]


def mmcv_folder() -> Path:
    """Where mmcv is installed.

    Returns:
        Path: Folder of its ``__init__.py``.

    Raises:
        ConfigError: If it is not.
    """
    spec = importlib.util.find_spec('mmcv')
    if spec is None or not spec.origin:
        raise ConfigError(
            'mmcv is not installed: pip install onedl-mmcv, or `make install` '
            'in a checkout'
        )
    return Path(spec.origin).parent


def describe() -> str:
    """Which ops are in use, as the environment reports print it.

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
    """See that the ops are there that a toolbox does not do without.

    Args:
        scope (str, optional): ``default_scope`` of a config.

    Raises:
        ConfigError: If they do not load, be it that they were compiled for
            another PyTorch or that torchvision is missing.
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
            'compile`, or take those of torchvision with `python -m '
            'mmfft.mmcv_ops light`'
        ) from error
