# Copyright (c) mmfft authors. All rights reserved.
"""Triton's kernels for GPUs; on a CPU they run in its interpreter only."""

try:
    import triton
except ImportError as error:
    raise ImportError(
        'the kernels of mmfft need Triton, which does not import: install '
        "the package triton, or force none of them (use_path('triton'), "
        'the names of single kernels, MMFFT_PATH)'
    ) from error
