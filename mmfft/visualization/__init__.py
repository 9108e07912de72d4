# Copyright (c) mmfft authors. All rights reserved.
"""Pictures of filters, and class activation maps."""

from ..openmmlab import required
