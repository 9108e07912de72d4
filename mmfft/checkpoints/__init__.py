# Copyright (c) mmfft authors. All rights reserved.
"""Published checkpoints into ours."""

from .published import convert_published

__all__ = ['convert_published']
