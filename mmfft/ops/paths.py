# Copyright (c) mmfft authors. All rights reserved.
"""Which of several equal ways an op is computed: chosen here alone."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from .half_spectrum import Grid

PATHS = ('fft', 'matmul', 'export')  # on every machine
_FORCEABLE = (*PATHS, 'triton')
_forced: str | None = None
# PyTorch before 2.7 cannot tell, and exports by torch.onnx.export alone.
_is_exporting = getattr(torch.compiler, 'is_exporting', lambda: False)


def chosen_path(grid: Grid, device: torch.device) -> str:
    """How the transforms of a map are computed.

    ``'fft'`` and ``'matmul'`` run inside of a registered operator.
    ``'triton'`` is the FFT with a dynamic filter's product fused into one
    kernel, which waits for its measurement (``benchmarks/op.py`` on a GPU):
    it is never chosen, only forced.
    ``'export'`` are the same matrix products as plain operators, which any
    runtime has: the choice in a graph that is being exported.

    Matrix products are chosen on a CPU for small grids, where they were
    measured to be faster (``benchmarks/op.py``). On other devices nothing was
    measured yet and the FFT is taken.
    """
    if _forced is not None:
        return _forced
    # Dynamo answers yes to is_exporting, also where it only compiles; the
    # exporters do without it unless asked for (strict=True).
    exporting = _is_exporting() or torch.onnx.is_in_onnx_export()
    if exporting and not torch.compiler.is_dynamo_compiling():
        return 'export'
    return 'matmul' if device.type == 'cpu' and sum(grid) <= 136 else 'fft'


def exporting() -> bool:
    """Whether the graph shall hold plain operators alone."""
    return chosen_path((1, 1), torch.device('cpu')) == 'export'


@contextmanager
def use_path(path: str) -> Iterator[None]:
    """Force one path, for tests, benchmarks and exporters of one's own.

    Args:
        path (str): ``'fft'``, ``'matmul'``, ``'export'`` or ``'triton'``; the
            last one runs on CUDA, elsewhere in Triton's interpreter alone
            (``TRITON_INTERPRET=1``).

    Raises:
        ValueError: If there is no such path.
    """
    global _forced
    if path not in _FORCEABLE:
        raise ValueError(f'path must be one of {_FORCEABLE}, got {path!r}')
    before, _forced = _forced, path
    try:
        yield
    finally:
        _forced = before
