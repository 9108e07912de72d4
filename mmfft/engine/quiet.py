# Copyright (c) mmfft authors. All rights reserved.
"""Build and run parts of a config without their messages."""

import contextlib
import io
import warnings
from collections.abc import Iterator

from mmengine.logging import MMLogger

_NAME = 'mmfft.quiet'


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Context without prints, warnings and records of mmengine's logger.

    What is built for a check only is built again for the run, which then says
    the same once.
    """
    MMLogger.get_instance(_NAME, log_level='CRITICAL')
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            with contextlib.redirect_stdout(io.StringIO()):
                yield
    finally:
        # mmengine has no public way to forget a logger, and the newest one is
        # the current one.
        MMLogger._instance_dict.pop(_NAME, None)
