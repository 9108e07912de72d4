# Copyright (c) mmfft authors. All rights reserved.
"""Errors that the user can fix, and the checks that raise them."""

from collections.abc import Sequence
from typing import Any


class ConfigError(ValueError):
    """Something that the user wrote cannot work; the message says what can.

    The command lines print it as one line, without a traceback.
    """


def require_whole_number(name: str, value: int, least: int) -> None:
    """See that an argument is a whole number.

    Args:
        name (str): Name of the argument, used in the message.
        value (int): Value that the user gave.
        least (int): Smallest value that it may have.

    Raises:
        ConfigError: If it is of another type, to which True and False belong
            here, or too small.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigError(
            f'{name} must be a whole number from {least} up, got {value!r}'
        )


def require_one_of(name: str, value: Any, choices: Sequence) -> None:
    """See that an argument is one of a few values.

    Args:
        name (str): Name of the argument, used in the message.
        value (Any): Value that the user gave.
        choices (Sequence): Values that it may have.

    Raises:
        ConfigError: If it is none of them.
    """
    if value not in choices:
        raise ConfigError(f'{name} must be one of {choices}, got {value!r}')


def require_size(name: str, value: int | tuple[int, int]) -> tuple[int, int]:
    """See that an argument is a size in two dimensions.

    Args:
        name (str): Name of the argument, used in the message.
        value (int | tuple[int, int]): Value that the user gave; one number
            for a square.

    Returns:
        tuple[int, int]: ``(H, W)``.

    Raises:
        ConfigError: If it is something else, or empty.
    """
    size = (value,) * 2 if isinstance(value, int) else value
    if (
        not isinstance(size, (list, tuple))
        or len(size) != 2
        or not all(isinstance(n, int) and n > 0 for n in size)
    ):
        raise ConfigError(
            f'{name} must be a positive int or (height, width) '
            f'of positive ints, got {value!r}'
        )
    return size[0], size[1]
