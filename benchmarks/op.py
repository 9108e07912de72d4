# Copyright (c) mmfft authors. All rights reserved.
"""Measure the dynamic spectral filter on the grids of DFFormer-S18's stages.

    python -m benchmarks.op --sizes 224 512 800x1344 --batch 8

The contenders are the published formula (``plain``), the operator with its own
choice of path (``mmfft``), the operator with each path forced that fits the
grid (``export`` is dense matrix products by PyTorch's own operators), and a
copy (``floor``): the least that a layer needs to read x and write y once, and
in training also dy and dx. ``GB/s`` is these bytes over the time.

All results have the dtype and the layout that the next layer reads, and the
routing is float32, as a softmax under autocast returns it. On a CPU the
contenders run in interleaved rounds. On a GPU they run one after the other,
and their inputs rotate so that none is found in the L2 cache.

Each row has the errors of y, and in training of the gradients, against float64
on a CPU, relative in the norm, for the first and the last image. A result that
is wrong counts as a failure.
"""

import sys
from functools import cache, partial
from itertools import product

import torch
from oracle import models as plain_models
from oracle.filters import as_complex, filtered, mixture
from torch import Tensor

from benchmarks.common import (
    DTYPES,
    GATES,
    TF32_GATE,
    Recorder,
    batches,
    forced,
    parser,
    size_of,
    text_of,
)
from mmfft.ops import (
    KERNEL_PATHS,
    chosen_path,
    dynamic_spectral_filter,
    half_spectrum_shape,
    project_hermitian,
    use_path,
)

CHANNELS = (128, 256, 640, 1024)
NUM_FILTERS = 4
NAMES = ('y', 'x', 'routing', 'basis')
PATHS = ('fft', 'matmul', 'export', *KERNEL_PATHS)
CONTENDERS = ('plain', 'mmfft', *(f'mmfft {path}' for path in PATHS), 'floor')


def grids_of(size: tuple[int, int]) -> list[tuple[int, int]]:
    """Compute the grids of the four stages for an image."""
    grids = [tuple((n - 3) // 4 + 1 for n in size)]
    while len(grids) < 4:
        grids.append(tuple((n + 1) // 2 for n in grids[-1]))
    return grids


def paths_on(device: torch.device) -> tuple[str, ...]:
    """All paths that run on a device."""
    if device.type == 'cuda':
        return PATHS
    return tuple(path for path in PATHS if path not in KERNEL_PATHS)


def is_for(
    path: str,
    grid: tuple[int, int],
    device: torch.device,
    dtype: torch.dtype,
) -> bool:
    """Whether a path, if forced, computes a filter of a grid itself."""
    with use_path(path):
        return path == chosen_path(grid, device, dtype)


def plain(x: Tensor, routing: Tensor, basis: Tensor) -> Tensor:
    y = plain_models.dynamic_spectral_filter(x, routing, basis)
    return y.to(x.dtype, memory_format=torch.contiguous_format)


def copy(x: Tensor, routing: Tensor, basis: Tensor) -> Tensor:
    """A copy of x, and of the gradient on its way back."""
    y = x.clone()
    if y.requires_grad:
        y.register_hook(torch.clone)
    return y


def exactly(x: Tensor, routing: Tensor, basis: Tensor) -> Tensor:
    """The published formula in the dtype of its arguments."""
    return filtered(x, mixture(routing, as_complex(basis)))


def inputs(
    grid: tuple[int, int],
    channels: int,
    batch: int,
    dtype: torch.dtype,
    device: torch.device,
    seed: int = 0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Map, routing and basis of a dynamic filter.

    The basis has only the part that acts. PyTorch's FFT for CUDA would also
    use part of the rest, which it ignores on a CPU.
    """
    generator = torch.Generator(device).manual_seed(seed)
    random = partial(torch.randn, device=device, generator=generator)
    x = random(batch, *grid, channels).to(dtype)
    routing = random(batch, NUM_FILTERS, channels).softmax(1)
    basis = random(*half_spectrum_shape(grid), NUM_FILTERS, 2)
    return x, routing, project_hermitian(basis, grid)


def results(
    function, tensors, grad: Tensor | None = None, path: str | None = None
) -> list[Tensor]:
    """Output, and with ``grad`` the gradients of all floating tensors."""
    if grad is None:
        with torch.no_grad(), forced(path):
            return [function(*tensors)]
    leaves = [t.detach().requires_grad_() for t in tensors]
    with forced(path):
        y = function(*leaves)
        grads = torch.autograd.grad(y, leaves, grad.to(y.dtype))
    return [y.detach(), *grads]


def error_of(found: Tensor, exact: Tensor) -> float:
    """Error relative in the norm, in float64 on a CPU."""
    found, exact = found.detach().cpu().double(), exact.cpu().double()
    return float((found - exact).norm() / exact.norm())


def gate(dtype: torch.dtype, tf32: bool) -> float:
    """Largest error that is allowed."""
    return max(GATES[dtype], TF32_GATE if tf32 else 0)


def num_inputs(x: Tensor) -> int:
    """How many maps exceed the L2 cache of a GPU twice; 1 on a CPU."""
    if x.device.type == 'cpu':
        return 1
    cache = torch.cuda.get_device_properties(x.device).L2_cache_size
    return 1 + 2 * cache // x.nbytes


class Case:
    """One grid and batch, in inference or training."""

    def __init__(self, grid, channels, batch, train, args):
        self.arguments = (grid, channels, batch)
        self.device, self.dtype = torch.device(args.device), DTYPES[args.dtype]
        self.train, self.gate = train, gate(self.dtype, args.tf32)
        # With the paths that are forced.
        self.functions = {
            'plain': (plain, None),
            'mmfft': (dynamic_spectral_filter, None),
            **{
                f'mmfft {path}': (dynamic_spectral_filter, path)
                for path in paths_on(self.device)
                if is_for(path, grid, self.device, self.dtype)
            },
            'floor': (copy, None),
        }
        # Kept as long as this case: made once for all contenders.
        self.first = cache(lambda: self._inputs(0))
        self.exact = cache(self._exact)

    def _inputs(self, seed):
        return inputs(*self.arguments, self.dtype, self.device, seed)

    def _ends(self, x):
        """First and last image."""
        return x[:: max(1, len(x) - 1)]

    def _grad(self):
        """Gradient of y, which is zero but for the first and last image."""
        if not self.train:
            return None
        x = self.first()[0]
        grad = torch.zeros_like(x)
        self._ends(grad).copy_(self._ends(x).roll(1, -1))
        return grad

    def _exact(self):
        x, routing, basis = self.first()
        tensors = [self._ends(x), self._ends(routing), basis]
        grad = self._grad()
        if grad is not None:
            grad = self._ends(grad).cpu().double()
        return results(exactly, [t.cpu().double() for t in tensors], grad)

    def contenders(self):
        """Functions that prepare the calls of each contender."""
        return {
            name: partial(self._calls, function, path)
            for name, (function, path) in self.functions.items()
        }

    def _calls(self, function, path):
        count = num_inputs(self.first()[0])
        every = [self.first(), *map(self._inputs, range(1, count))]
        return [self._call(function, tensors, path) for tensors in every]

    def _call(self, function, tensors, path):
        if not self.train:
            return partial(results, function, tensors, path=path)
        leaves = [t.detach().requires_grad_() for t in tensors]
        grad = tensors[0].roll(1, -1)

        def step():
            with forced(path):
                torch.autograd.grad(
                    function(*leaves), leaves, grad, allow_unused=True
                )

        return step

    def extra(self, name, row):
        """Bandwidth of the least bytes, and errors."""
        more = {}
        x = self.first()[0]
        if 'ms' in row:
            milliseconds = row.get('graph_ms', row['ms'])
            least = (4 if self.train else 2) * x.nbytes
            more['bandwidth'] = 1e3 * least / milliseconds
        if name == 'floor':
            return more
        function, path = self.functions[name]
        found = results(function, self.first(), self._grad(), path)
        # y and the gradients of x and routing, and that of the basis.
        ends = [*map(self._ends, found[:3]), *found[3:]]
        for key, a, b in zip(NAMES, ends, self.exact()):
            more[f'error_{key}'] = error_of(a, b)
        errors = [more[key] for key in more if key.startswith('error_')]
        # Also where the error is no number.
        if not all(error < self.gate for error in errors):
            more['error'] = f'an error exceeds {self.gate}'
        return more


def main(argv=None):
    p = parser(__doc__.splitlines()[0])
    p.add_argument(
        '--sizes',
        nargs='+',
        type=size_of,
        default=[(224, 224), (512, 512), (800, 1344)],
    )
    p.add_argument('--stages', nargs='+', type=int, default=[1, 2, 3, 4])
    p.add_argument(
        '--contenders',
        nargs='+',
        choices=CONTENDERS,
        default=CONTENDERS,
        help='measure those of these that fit a grid',
    )
    args = p.parse_args(argv)
    recorder = Recorder('op', args, argv)
    for size, mode in product(args.sizes, args.mode):
        for batch, stage in product(batches(args, size), args.stages):
            grid, channels = grids_of(size)[stage - 1], CHANNELS[stage - 1]
            case = Case(grid, channels, batch, mode == 'train', args)
            recorder.compare(
                dict(
                    mode=mode,
                    image=text_of(size),
                    batch=batch,
                    grid=text_of(grid),
                    channels=channels,
                ),
                {
                    name: make
                    for name, make in case.contenders().items()
                    if name in args.contenders
                },
                baseline=lambda name: 'plain',
                extra=case.extra,
            )
    return recorder.finish()


if __name__ == '__main__':
    sys.exit(main())
