# Copyright (c) mmfft authors. All rights reserved.


class ConfigError(ValueError):
    """Something that the user wrote cannot work; the message says what can.

    The command lines print it as one line, without a traceback.
    """
