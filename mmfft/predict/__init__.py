# Copyright (c) mmfft authors. All rights reserved.
"""Predictions for pictures, videos and cameras, drawn and as COCO's JSON."""

from ..openmmlab import required
