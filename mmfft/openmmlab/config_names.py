# Copyright (c) mmfft authors. All rights reserved.
"""Configs by name: ``_base_ = 'mmfft::cdfformer/...py'`` in any config.

mmengine knows only the names of OpenMMLab's own packages, and finds
``mmseg::...`` only if the distribution is called ``mmsegmentation``, which
OneDL's is not. :func:`register_config_names`, which ``import mmfft`` calls,
fixes both. It must be called before the config is read: ``custom_imports``
comes too late, since mmengine follows ``_base_`` first.
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
    """Find the folder with ``configs``, ``tools`` and ``model-index.yml``.

    Returns:
        Path | None: ``mmfft/.mim`` of an installed package, or the checkout
        that mmfft is imported from; None if there is neither.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / '.mim', package.parent):
        if (folder / 'model-index.yml').is_file():
            return folder
    return None


def config_file(name: str) -> Path:
    """Find the file of a config.

    Args:
        name (str): Path of the file, or ``'mmfft::'`` and the path below our
            ``configs``.

    Returns:
        Path: The path as given, or the file of our config in the installed
        package or in the checkout.

    Raises:
        ConfigError: If we have no config of this name.
    """
    if not name.startswith(PREFIX):
        return Path(name)
    folder = mim_folder()
    if folder is None:
        raise ConfigError(
            f'config {name!r}: this copy of mmfft came without its configs; '
            'install mmfft with pip, or give the path of a config'
        )
    configs = folder / 'configs'
    file = configs / name.removeprefix(PREFIX)
    if not file.is_file():
        names = [
            PREFIX + path.relative_to(configs).as_posix()
            for path in sorted(configs.rglob('*.py'))
        ]
        close = difflib.get_close_matches(name, names, n=3)
        hint = f'; similar names: {", ".join(close)}' if close else ''
        raise ConfigError(f'config {name!r} does not exist{hint}')
    return file


def with_our_tools(command: str) -> str:
    """Make a command from a config work in any folder.

    Args:
        command (str): Command, such as ``data_preparation`` of the config,
            that names tools by their paths in the checkout, ``tools/...``.

    Returns:
        str: The command with the paths of the installed tools, except for
        paths that exist in the current folder.
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

    By default mmengine would build everything from an ``mmfft::`` config in
    the scope ``mmfft``, where it finds only our classes. Configs name our
    classes in full, as in ``mmfft.CDFFormer``, so the scope of the toolbox is
    kept instead.
    """
    of_mmengine = Config._get_cfg_path

    def get_cfg_path(cfg_path: str, filename: str) -> tuple[str, str | None]:
        if cfg_path.startswith(PREFIX):
            return str(config_file(cfg_path)), None
        return of_mmengine(cfg_path, filename)

    Config._get_cfg_path = staticmethod(get_cfg_path)

    # For `mmengine.hub.get_config`. No distribution has the name of this
    # module, so mmengine takes the module's folder. With the distribution's
    # name, the original mmengine would not find an editable install.
    MODULE2PACKAGE['mmfft'] = 'mmfft.registry'
    if set(installed('mmseg')) == {'onedl-mmsegmentation'}:
        MODULE2PACKAGE['mmseg'] = 'mmseg'
