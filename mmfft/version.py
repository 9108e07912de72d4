# Copyright (c) mmfft authors. All rights reserved.
"""The version of mmfft; `setup.py` reads it from here."""

__version__ = '1.0.0rc1'


def parse_version_info(version_str):
    """Parse a version string into a tuple that compares as versions do.

    Args:
        version_str (str): The version, such as ``'1.3.0'`` or ``'2.0.3rc4'``.

    Returns:
        tuple[int | str]: The version in parts: ``'1.3.0'`` becomes
        ``(1, 3, 0)`` and ``'2.0.0rc1'`` becomes ``(2, 0, 0, 'rc1')``.
    """
    version_info = []
    for part in version_str.split('.'):
        if part.isdigit():
            version_info.append(int(part))
        elif 'rc' in part:
            patch, candidate = part.split('rc')
            version_info.append(int(patch))
            version_info.append(f'rc{candidate}')
    return tuple(version_info)


version_info = parse_version_info(__version__)

__all__ = ['__version__', 'version_info', 'parse_version_info']
