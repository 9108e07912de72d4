# Copyright (c) mmfft authors. All rights reserved.
"""Which of several equivalent ways an op is computed is decided only here.

The first half asks PyTorch how the code is being run: nothing else in mmfft
reads the state of its compilers, exporters, tracers and transforms. The second
half is the table of the paths, and the choices made from it.
"""

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.autograd import forward_ad

from ..after_import import after_import
from ..errors import require_one_of
from . import fft, matmul
from .composed import ComposedFilter, Transform
from .precision import operand_precision
from .spectrum import Grid, is_static

_forced: str | None = None
# PyTorch before 2.7 cannot tell, and exports by torch.onnx.export only.
_is_exporting = getattr(torch.compiler, 'is_exporting', lambda: False)
# Earlier compilers have to know every size that is compared.
_KNOWS_GUARDS = torch.__version__ >= '2.7'


def takes_plain_operators() -> bool:
    """Whether everything is to be done by PyTorch's own operators.

    True in a graph that is exported, and under a transform, also where
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


def is_eager() -> bool:
    """Whether operators just run and are neither recorded nor transformed."""
    return not (is_recorded() or is_transformed())


def is_recorded() -> bool:
    """Whether a compiler, an exporter or a tracer is recording a graph."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


def is_transformed() -> bool:
    """Whether ``torch.func`` or forward-mode differentiation is at work."""
    return _is_in_torch_func() or forward_ad._current_level >= 0


def is_backward_differentiated() -> bool:
    """Whether a backward pass is differentiated or transformed itself."""
    return torch.is_grad_enabled() or is_transformed()


def is_batched_by_autograd(grad: Tensor) -> bool:
    """Whether a gradient stands for many (``is_grads_batched=True``)."""
    return torch._C._functorch.is_legacy_batchedtensor(grad)


def _is_in_torch_func() -> bool:
    return torch._C._are_functorch_transforms_active()


# What torch.compiler.assume_constant_result does, without importing the
# compiler: the answer is that of the moment of tracing, which it guards.
_is_in_torch_func._dynamo_marked_constant = True  # type: ignore[attr-defined]


def run_by_python(function: Callable) -> Callable:
    """Keep the compiler out of a function and out of what it calls.

    What ``torch.compiler.disable`` does, without importing the compiler, which
    takes a second. With ``fullgraph=True`` calling the function is an error.

    Args:
        function (Callable): The function.

    Returns:
        Callable: What is to be called instead of it.
    """
    called = function

    def disable(decorators: ModuleType) -> None:
        nonlocal called
        called = decorators.disable(function)

    after_import('torch._dynamo.decorators', disable)
    return lambda *args: called(*args)


def guard_or_false(condition: bool | torch.SymBool) -> bool:
    """Whether a condition, maybe of symbols, is known to hold."""
    # For the compiler a symbol is a bool, too.
    if isinstance(condition, bool) and not torch.compiler.is_compiling():
        return condition
    if not _KNOWS_GUARDS:
        # Not `bool`, which its compiler does not know for symbols.
        return True if condition else False
    # It imports sympy, which takes a second, unless there are symbols already.
    from torch.fx.experimental import symbolic_shapes

    return symbolic_shapes.guard_or_false(condition)


def same_grid(a: Grid, b: Grid) -> bool:
    """Whether two grids are known to be equal.

    The symbols of an exported graph, or of one that is compiled for any
    size, are equal to no number.
    """
    if not (is_static(a) and is_static(b)):
        return False
    return guard_or_false(a[0] == b[0]) and guard_or_false(a[1] == b[1])


class Filter(Protocol):
    """A static filter, without ``routing``, and a dynamic one.

    A :class:`.ComposedFilter`, or kernels of :mod:`.kernels`.
    """

    def forward(
        self, x: Tensor, routing: Tensor | None, filter: Tensor
    ) -> Tensor:
        """Filtered map, of the shape and dtype of ``x``."""

    def backward(
        self,
        grad: Tensor,
        x: Tensor,
        routing: Tensor | None,
        filter: Tensor,
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """Gradients of x, routing and filter."""


class Case(NamedTuple):
    """What a path is chosen by.

    Attributes:
        grid (tuple[int, int]): ``(H, W)`` of the map.
        device (torch.device): Device of the map.
        dtype (torch.dtype): Dtype of the map.
    """

    grid: Grid
    device: torch.device
    dtype: torch.dtype

    @property
    def operands(self) -> str:
        """Precision of products on tensor cores."""
        return operand_precision(self.dtype)

    @property
    def capability(self) -> tuple[int, int]:
        """Compute capability of the GPU."""
        return _capability(self.device)


def _capability(device: torch.device) -> tuple[int, int]:
    # Tensors without values and the interpreter stand for an H100.
    if device.type != 'cuda' or not torch.cuda.is_available():
        return 9, 0
    return torch.cuda.get_device_capability(device)


class Row(NamedTuple):
    """One path of the table.

    Attributes:
        path (str): Name of the path.
        filter (Callable): Returns the filter. What not every machine has is
            imported only then.
        transform (Transform, optional): The transforms, of a path that has
            its own.
        fits (Callable): Whether the path can compute a case. By default it
            can compute every one.
        pays (Callable): Whether the path was measured to be the fastest for a
            case, or is the only one that is right. By default nothing was
            measured, and the path is taken only where it is forced.
    """

    path: str
    filter: Callable[[], Filter]
    transform: Transform | None = None
    fits: Callable[[Case], bool] = lambda case: True
    pays: Callable[[Case], bool] = lambda case: False


def _kernels(name: str) -> ModuleType:
    """Module of :mod:`.kernels`, imported only where it is needed."""
    return import_module(f'.kernels.{name}', __package__)


def _kernel_row(name: str) -> Row:
    """Path of a module of :mod:`.kernels`."""

    def fits(case: Case) -> bool:
        # The interpreter of Triton, for tests, runs on a CPU.
        return (
            (_is_nvidia(case.device) or _INTERPRETED)
            and case.dtype != torch.float64
            and _kernels(name).fits(case.grid, case.operands, case.capability)
        )

    return Row(
        name,
        lambda: _kernels(name).FILTER,
        fits=fits,
        pays=_kernels_pay,
    )


def _is_nvidia(device: torch.device) -> bool:
    # AMD's GPUs have the same name. For them Triton has no exact products of
    # float32 on tensor cores, and for most of them none in TF32.
    return device.type == 'cuda' and torch.version.hip is None


# Whether an H100 has measured the kernels, which are cut to it, to be faster:
# the switch of them all. Not every PyTorch for CUDA has Triton.
_KERNELS_PAY = False
_HAS_TRITON = find_spec('triton') is not None


def _kernels_pay(case: Case) -> bool:
    return (
        _KERNELS_PAY
        and _HAS_TRITON
        and case.device.type == 'cuda'
        and case.capability[0] == 9
    )


# Height plus width up to which matrix products were faster than the FFT on a
# CPU: docs/results/costs.md, by benchmarks.op. Nothing was measured elsewhere
# yet.
_LARGEST_MATMUL = 100


def _products_pay(case: Case) -> bool:
    # On Apple's GPUs PyTorch's inverse FFT returns maps of odd width in
    # another order (pytorch/pytorch#126649): there products are not faster,
    # as far as is known, but right.
    return case.device.type == matmul.APPLE or (
        case.device.type == 'cpu' and sum(case.grid) <= _LARGEST_MATMUL
    )


# Points of a batch's maps from which a linear layer was faster by oneDNN:
# docs/results/costs.md, by benchmarks.backbones.
_CONVOLVED_POINTS = 1024

# Paths by kernels of Triton, in the order of preference.
KERNEL_PATHS = ('pairs', 'quadrants', 'rows')
_WARNED: set[str] = set()  # forced paths that some map could not take
_INTERPRETED = os.environ.get('TRITON_INTERPRET') == '1'

# In the order of preference; the last one fits every case.
_TABLE = (
    *map(_kernel_row, KERNEL_PATHS),
    Row(
        'matmul',
        lambda: ComposedFilter(matmul),
        matmul,
        pays=_products_pay,
    ),
    Row('fft', lambda: ComposedFilter(fft), fft, pays=lambda case: True),
)
PATHS = ('fft', 'matmul', 'export')  # on every machine
_GROUPS: dict[str, tuple[str, ...]] = dict(triton=KERNEL_PATHS)
_FORCEABLE = (*PATHS, *KERNEL_PATHS, *_GROUPS)


def _row(case: Case) -> Row:
    """The path of a case, of those within registered operators."""
    forced = _forced and _GROUPS.get(_forced, (_forced,))
    for row in _TABLE[:-1]:
        is_wanted = row.path in forced if forced else row.pays(case)
        if is_wanted and row.fits(case):
            return row
    if _forced not in (None, 'export', _TABLE[-1].path):
        _warn_of_fft(_forced, case)
    return _TABLE[-1]


def _warn_of_fft(path: str, case: Case) -> None:
    if path in _WARNED:
        return
    _WARNED.add(path)
    warnings.warn(
        f'path {path!r} is forced, but not every map can take it: the FFT is '
        f'used for {case.grid[0]}x{case.grid[1]}, {case.dtype} on '
        f'{case.device.type}, and for others like it',
        stacklevel=2,
    )


def chosen_path(
    grid: Grid, device: torch.device, dtype: torch.dtype = torch.float32
) -> str:
    """How a filter on a map is computed.

    ``'fft'`` and ``'matmul'`` run inside of a registered operator, and so do
    the kernels of Triton: on an H100 ``'pairs'`` on maps of up to 128 pairs of
    points, ``'quadrants'`` up to 31x31, ``'rows'`` on larger ones. Other GPUs
    take smaller maps by ``'pairs'`` and ``'rows'``. They wait for their
    measurement (``benchmarks.op`` on a GPU): they are never chosen, only
    forced, and what they do not take, float64 for one, runs by the FFT.
    ``'export'`` is the same matrix products as plain operators, which any
    runtime has and any transform knows: see ``takes_plain_operators``.

    Matrix products are chosen on a CPU for small grids, where they were
    measured to be faster (``benchmarks.op``), and on Apple's GPUs (``'mps'``)
    for all grids, since PyTorch's inverse FFT is wrong there for odd widths.
    On other devices nothing was measured yet and the FFT is taken.

    Args:
        grid (tuple[int, int]): ``(H, W)`` of the map.
        device (torch.device): Device of the map.
        dtype (torch.dtype): Dtype of the map. Defaults to float32.

    Returns:
        str: Name of the path.
    """
    if takes_plain_operators():
        return 'export'
    return _row(Case(grid, device, dtype)).path


def filter_for(x: Tensor) -> Filter:
    """The implementation of a filter on a map ``(B, H, W, C)``.

    Args:
        x (Tensor): The map.

    Returns:
        Filter: The one of the chosen path.
    """
    return _row(Case((x.shape[1], x.shape[2]), x.device, x.dtype)).filter()


def transform_for(x: Tensor, columns: int) -> Transform:
    """The implementation of the transforms, where they are all that is asked.

    Args:
        x (Tensor): A map ``(B, H, W, C)``, or a spectrum with as many rows.
        columns (int): Width of the map.

    Returns:
        Transform: The one of the chosen path, the FFT if it has none.
    """
    row = _row(Case((x.shape[1], columns), x.device, x.dtype))
    return row.transform or fft


# Whether this processor has the instructions that oneDNN uses and MKL may not.
_HAS_FAST_ONEDNN = (
    torch.backends.mkldnn.is_available()
    and torch.backends.cpu.get_cpu_capability() == 'AVX512'
)


def is_linear_convolved(x: Tensor) -> bool:
    """Whether a linear layer on ``(B, H, W, C)`` runs as a convolution.

    True on processors with AVX-512 for maps of 1,024 points and more in a
    batch, in float32: measured on AMD only, where it takes 0.7 to 0.95 times
    as long (``docs/results/costs.md``). Graphs that leave this machine hold
    plain linear layers, and so does everything while oneDNN is switched off
    (``torch.backends.mkldnn.flags(enabled=False)``) or under a transform.

    Args:
        x (Tensor): The input of the layer.

    Returns:
        bool: Whether it runs as a convolution.
    """
    if (
        not isinstance(x, Tensor)  # a proxy of torch.fx
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


def is_convolution_hidden() -> bool:
    """Whether a convolution is an operator that compilers do not look into.

    See :mod:`.convolution` for why.
    """
    return torch.compiler.is_dynamo_compiling() and not takes_plain_operators()


# A tensor of another class may have no memory of its own.
_WITH_MEMORY: tuple[type, ...] = (Tensor, torch.nn.Parameter)


def takes_kernel(x: Tensor) -> bool:
    """Whether a layer runs on ``x`` as a kernel of :mod:`.kernels`.

    Until a GPU has measured them that is only where ``'triton'`` is forced.
    """
    pays = _KERNELS_PAY and _HAS_TRITON
    return (
        (pays if _forced is None else _forced == 'triton')
        and is_eager()
        # First, as a proxy of torch.fx answers nothing else.
        and type(x) in _WITH_MEMORY
        and (x.is_cuda or _INTERPRETED)
        and x.dtype in (torch.float32, torch.float16, torch.bfloat16)
    )


@contextmanager
def use_path(path: str) -> Iterator[None]:
    """Force one path, for tests, benchmarks and custom exporters.

    The environment variable ``MMFFT_PATH`` does so for a whole process. Under
    the transforms of PyTorch it stays ``'export'``.

    Args:
        path (str): ``'fft'``, ``'matmul'``, ``'export'``, one of the kernels
            of Triton, ``'pairs'``, ``'quadrants'`` or ``'rows'``, or
            ``'triton'`` for the first of those that takes a map. Kernels run
            on CUDA, elsewhere only in Triton's interpreter
            (``TRITON_INTERPRET=1``); what they do not take runs by the FFT.

    Raises:
        ValueError: If there is no such path.
    """
    global _forced
    require_one_of('path', path, _FORCEABLE)
    before, _forced = _forced, path
    try:
        yield
    finally:
        _forced = before


def _path_of_environment() -> str | None:
    path = os.environ.get('MMFFT_PATH') or None
    if path is not None:
        require_one_of('the environment variable MMFFT_PATH', path, _FORCEABLE)
    return path


_forced = _path_of_environment()
