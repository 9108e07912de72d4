# Copyright (c) mmfft authors. All rights reserved.
"""What the demo shows: predictions of a model, and a report."""

from ..openmmlab import required
