# Copyright (c) mmfft authors. All rights reserved.
"""Where the published ImageNet-1K checkpoints are."""

from ..errors import ConfigError

# The release of https://github.com/okojoalg/dfformer.
_RELEASE = 'https://github.com/okojoalg/dfformer/releases/download/weights/'
_DFFORMERS = {
    f'{family}-{size}_in1k': f'{family}_{size}.pth'
    for family in ('dfformer', 'cdfformer')
    for size in ('s18', 's36', 'm36', 'b36')
}
# https://github.com/raoyongming/GFNet links to file shares that hand out no
# plain address; the names are those that its users give the files.
_GFNETS = {
    f'gfnet-{size}_in1k': f'gfnet-{size}.pth'
    for size in ('ti', 'xs', 's', 'b', 'h-ti', 'h-s', 'h-b')
}
_FILES = {**_DFFORMERS, **_GFNETS}


def published_names() -> list[str]:
    """Names that follow ``mmfft://``."""
    return list(_FILES)


def file_of(name: str) -> str:
    """File name of a published checkpoint.

    Args:
        name (str): One of :func:`published_names`.

    Returns:
        str: Such as ``'dfformer_s18.pth'``.

    Raises:
        ConfigError: If there is none of that name.
    """
    if name not in _FILES:
        raise ConfigError(
            f'mmfft://{name} is not known: choose from {published_names()}'
        )
    return _FILES[name]


def url_of(name: str) -> str | None:
    """Address of a published checkpoint, None where it has no plain one.

    Args:
        name (str): One of :func:`published_names`.

    Raises:
        ConfigError: If there is none of that name.
    """
    file = file_of(name)
    return _RELEASE + file if name in _DFFORMERS else None
