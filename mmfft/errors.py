# Copyright (c) mmfft authors. All rights reserved.


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
