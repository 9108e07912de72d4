# Copyright (c) mmfft authors. All rights reserved.
"""Which of several equal ways an op is computed: chosen here alone."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.autograd import forward_ad

from .spectrum import Grid, guard_or_false

PATHS = ('fft', 'matmul', 'export')  # on every machine
_FORCEABLE = (*PATHS, 'triton', 'triton-whole')
_forced: str | None = None
# Points of a batch's maps from which on oneDNN was measured to be faster.
_CONVOLVED_POINTS = 1024
# PyTorch before 2.7 cannot tell, and exports by torch.onnx.export alone.
_HAS_FAST_ONEDNN = (
    torch.backends.mkldnn.is_available()
    and torch.backends.cpu.get_cpu_capability() == 'AVX512'
)
_is_exporting = getattr(torch.compiler, 'is_exporting', lambda: False)


def chosen_path(grid: Grid, device: torch.device) -> str:
    """How the transforms of a map are computed.

    ``'fft'`` and ``'matmul'`` run inside of a registered operator.
    ``'triton'`` is the FFT with a dynamic filter's product fused into one
    kernel, and ``'triton-whole'`` a dynamic filter as one kernel up to 32x32
    (beyond, and for float64, the FFT). Both wait for their measurement
    (``benchmarks/op.py`` on a GPU): they are never chosen, only forced.
    ``'export'`` are the same matrix products as plain operators, which any
    runtime has and any transform knows: see :func:`takes_plain_operators`.

    Matrix products are chosen on a CPU for small grids, where they were
    measured to be faster (``benchmarks/op.py``). On other devices nothing was
    measured yet and the FFT is taken.
    """
    if takes_plain_operators():
        return 'export'
    if _forced is not None:
        return _forced
    return 'matmul' if device.type == 'cpu' and sum(grid) <= 136 else 'fft'


def takes_plain_operators() -> bool:
    """Whether all shall be done by PyTorch's own operators.

    So it is in a graph that is exported and under a transform, also where
    another path is forced: a registered operator has no tangents, which
    PyTorch takes for zeros, and no rule for batches.
    """
    if is_transformed():
        return True
    if _forced is not None:
        return _forced == 'export'
    # Dynamo answers yes to is_exporting, also where it only compiles; the
    # exporters do without it unless asked for (strict=True).
    exporting = _is_exporting() or torch.onnx.is_in_onnx_export()
    return exporting and not torch.compiler.is_dynamo_compiling()


def is_transformed() -> bool:
    """Whether ``torch.func`` or forward-mode differentiation is at work."""
    return _is_in_torch_func() or forward_ad._current_level >= 0


def _is_in_torch_func() -> bool:
    return torch._C._are_functorch_transforms_active()


# What torch.compiler.assume_constant_result does, without importing the
# compiler: the answer is that of the moment of tracing, which it guards.
_is_in_torch_func._dynamo_marked_constant = True


def is_linear_convolved(x: Tensor) -> bool:
    """Whether a linear layer on ``(B, H, W, C)`` runs as a convolution.

    True on processors with AVX-512 for maps of 1,024 points and more in a
    batch, in float32: measured on AMD alone, where it takes 0.7 to 0.95 times
    as long (``docs/costs.md``). Graphs that leave this machine hold plain
    linear layers, and so does everything while oneDNN is switched off
    (``torch.backends.mkldnn.flags(enabled=False)``) or under a transform.

    Args:
        x (Tensor): What the layer is given.

    Returns:
        bool: Whether it does.
    """
    if (
        not isinstance(x, Tensor)  # torch.fx traces with what is none
        or x.dim() != 4
        or x.device.type != 'cpu'
        or x.dtype != torch.float32
        or torch.is_autocast_enabled('cpu')
        or not _HAS_FAST_ONEDNN
        or not torch.backends.mkldnn.enabled
        or takes_plain_operators()
        or torch.jit.is_tracing()
    ):
        return False
    # Sizes that are symbols are taken to be ones for which this pays.
    return not guard_or_false(x.shape[:3].numel() < _CONVOLVED_POINTS)


@contextmanager
def use_path(path: str) -> Iterator[None]:
    """Force one path, for tests, benchmarks and exporters of one's own.

    Under the transforms of PyTorch it stays ``'export'``.

    Args:
        path (str): ``'fft'``, ``'matmul'``, ``'export'``, ``'triton'`` or
            ``'triton-whole'``; the last two run on CUDA, elsewhere in
            Triton's interpreter alone (``TRITON_INTERPRET=1``).

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
