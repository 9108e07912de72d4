# Copyright (c) mmfft authors. All rights reserved.
"""Filters read and drawn, and class activation maps."""

from ..openmmlab import required
