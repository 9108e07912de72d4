# Copyright (c) mmfft authors. All rights reserved.
"""Costs of models, and the studies from the papers."""

from ..openmmlab import required
