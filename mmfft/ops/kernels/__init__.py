# Copyright (c) mmfft authors. All rights reserved.
"""Triton's kernels for GPUs; on a CPU they run in its interpreter only."""
