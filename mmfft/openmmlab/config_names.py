# Copyright (c) mmfft authors. All rights reserved.
"""Configs by name: ``_base_ = 'mmfft::cdfformer/...py'`` in any config.

mmengine knows the names of OpenMMLab's own packages alone, and finds
``mmseg::...`` only where the distribution is called ``mmsegmentation``, which
OneDL's is not. :func:`register_config_names`, which ``import mmfft`` calls,
mends both. A name that is read before that is mmengine's to find:
``custom_imports`` comes too late, since mmengine follows ``_base_`` first.
"""

import difflib
import shlex
from pathlib import Path

from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE

from ..errors import ConfigError
from .lines import installed

PREFIX = 'mmfft::'


def mim_folder() -> Path | None:
    """Where ``configs``, ``tools`` and ``model-index.yml`` stand.

    Returns:
        Path | None: ``mmfft/.mim`` of an installed package, or the checkout
        that mmfft is imported from; None without either.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / '.mim', package.parent):
        if (folder / 'model-index.yml').is_file():
            return folder
    return None


def config_file(name: str) -> Path:
    """The file of a config.

    Args:
        name (str): A path, or ``'mmfft::'`` and the path below our
            ``configs``.

    Returns:
        Path: A path as it is, one of ours in the installed package or in the
        checkout.

    Raises:
        ConfigError: If there is none of ours of this name.
    """
    if not name.startswith(PREFIX):
        return Path(name)
    folder = mim_folder()
    if folder is None:
        raise ConfigError(
            f'config {name!r}: this copy of mmfft came without its configs; '
            'install it with pip, or give the path of a config'
        )
    configs = folder / 'configs'
    file = configs / name.removeprefix(PREFIX)
    if not file.is_file():
        names = [
            PREFIX + path.relative_to(configs).as_posix()
            for path in sorted(configs.rglob('*.py'))
        ]
        close = difflib.get_close_matches(name, names, n=3)
        hint = f'; close to it: {", ".join(close)}' if close else ''
        raise ConfigError(f'config {name!r} does not exist{hint}')
    return file


def with_our_tools(command: str) -> str:
    """A command of a config, such as ``data_preparation``, for any folder.

    Args:
        command (str): With ``tools/...`` as in the checkout.

    Returns:
        str: With the paths of the installed tools, unless the current folder
        has them.
    """
    folder = mim_folder()
    return ' '.join(
        shlex.quote(str(folder / word))
        if folder
        and not Path(word).exists()
        and word.startswith('tools/')
        and (folder / word).is_file()
        else word
        for word in command.split(' ')
    )


def register_config_names() -> None:
    """Let mmengine find ``mmfft::...``, and ``mmseg::...`` of OneDL.

    mmengine would build all that comes from ``mmfft::`` in a scope of that
    name, where it finds our classes alone. Ours are named ``mmfft.CDFFormer``
    in configs and need no scope: that of the toolbox stays.
    """
    of_mmengine = Config._get_cfg_path

    def get_cfg_path(cfg_path: str, filename: str) -> tuple[str, str | None]:
        if cfg_path.startswith(PREFIX):
            return str(config_file(cfg_path)), None
        return of_mmengine(cfg_path, filename)

    Config._get_cfg_path = staticmethod(get_cfg_path)

    # For `mmengine.hub.get_config`. It takes the folder of this module, since
    # no distribution has the name: by the distribution's name the original
    # mmengine would not find an editable install.
    MODULE2PACKAGE['mmfft'] = 'mmfft.registry'
    if set(installed('mmseg')) == {'onedl-mmsegmentation'}:
        MODULE2PACKAGE['mmseg'] = 'mmseg'
