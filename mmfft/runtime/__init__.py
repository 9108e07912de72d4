# Copyright (c) mmfft authors. All rights reserved.
"""Predictions and their pictures, without PyTorch and without OpenMMLab."""
