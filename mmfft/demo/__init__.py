# Copyright (c) mmfft authors. All rights reserved.
"""What the demo's command lines show: answers of a model, and a report."""

from ..openmmlab import required
