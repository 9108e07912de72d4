# Copyright (c) mmfft authors. All rights reserved.
"""Integration with mmengine and the toolboxes, in both lines of OpenMMLab."""
