# Copyright (c) mmfft authors. All rights reserved.
"""Errors that are a user's to mend."""


class ConfigError(ValueError):
    """Something that the user wrote cannot work; the message says what can.

    The command lines print it as one line, without a traceback.
    """


def require_whole_number(name: str, value: int, least: int) -> None:
    """See that an argument is a number of things.

    Args:
        name (str): Of the argument.
        value (int): Given by the user.
        least (int): That makes sense.

    Raises:
        ConfigError: If it is another type (True counts as one) or too small.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigError(
            f'{name} must be a whole number from {least} up, got {value!r}'
        )


def require_size(name: str, value: int | tuple[int, int]) -> tuple[int, int]:
    """See that an argument is a size in two dimensions.

    Args:
        name (str): Of the argument.
        value (int | tuple[int, int]): Given by the user; one number for a
            square.

    Returns:
        tuple[int, int]: ``(H, W)``.

    Raises:
        ConfigError: If it is something else or has no pixel.
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
    return tuple(size)
