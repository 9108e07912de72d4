# Copyright (c) mmfft authors. All rights reserved.
"""Which toolbox a config is for."""

from collections.abc import Mapping
from typing import TypeVar

from mmengine.config import Config

from ..errors import ConfigError

T = TypeVar('T')


def choose_by_scope(cfg: Config, choices: Mapping[str, T]) -> T:
    """Choose what belongs to the toolbox of a config.

    Args:
        cfg (Config): Config whose ``default_scope`` names the toolbox.
        choices (Mapping[str, T]): One entry for each supported toolbox.

    Returns:
        T: Entry of the config's toolbox.

    Raises:
        ConfigError: If the config is for another toolbox.
    """
    scope = cfg.get('default_scope')
    if scope not in choices:
        raise ConfigError(
            f'default_scope={scope!r} of the config must be one of '
            f'{sorted(choices)}'
        )
    return choices[scope]
