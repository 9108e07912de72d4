# Copyright (c) mmfft authors. All rights reserved.
"""Compile the kernels of filters for a GPU, without having one.

    python -m benchmarks.kernels --paths pairs --grids 14x14 7x7
    python -m benchmarks.kernels --paths triton --target sm_80

Each path runs forward and backward on tensors without values. What it starts
is compiled as it would be for these arguments, and disassembled:

- registers, and bytes of local memory per thread, which are mostly spills;
- KiB of shared memory, and how many programs a multiprocessor holds at once;
- instructions on tensor cores, as they stand in the code;
- instructions of all threads per element of x, as a kernel at the speed of
  memory has time for 76 in float32 and 38 in half precision forward, and 115
  and 57 backward (on an H100).

The last number is an approximation. Where a path starts fewer programs than it
would on any number of multiprocessors, each has a loop over images, which runs
as often as there are fewer. Any other loop, also one within, counts as if it
ran once; then there is a ``>=``. So does either side of a branch.
"""

import argparse
import math
import re
import subprocess
import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, make_backend
from triton.runtime.jit import MockTensor, create_function_from_signature

from benchmarks.common import DTYPES, size_of
from benchmarks.pretended_gpu import pretended_gpu
from mmfft.ops import half_spectrum_shape, use_path
from mmfft.ops.dispatch import filter_for

_WARP = 32
_REGISTERS = 2**16  # of a multiprocessor
_OWN_SHARED = 1024  # what a program takes besides what it asks for
_TENSOR_CORES = ('HGMMA', 'HMMA', 'IMMA', 'DMMA')
_NUM_FILTERS = 4


class Gpu(NamedTuple):
    """What kernels are compiled for.

    Attributes:
        capability (tuple[int, int]): Compute capability.
        multiprocessors (int): How many it has.
        shared (int): Bytes of shared memory of a multiprocessor.
        warps (int): How many a multiprocessor may hold.
        programs (int): Likewise.
    """

    capability: tuple[int, int]
    multiprocessors: int
    shared: int
    warps: int
    programs: int

    @property
    def largest_shared(self) -> int:
        """Bytes of shared memory that one program may have."""
        return self.shared - _OWN_SHARED


TARGETS = dict(
    sm_80=Gpu((8, 0), 108, 164 * 1024, 64, 32),  # A100
    sm_86=Gpu((8, 6), 82, 100 * 1024, 48, 16),  # GeForce RTX 3090
    sm_89=Gpu((8, 9), 128, 100 * 1024, 48, 24),  # GeForce RTX 4090
    sm_90=Gpu((9, 0), 132, 228 * 1024, 64, 32),  # H100
    sm_100=Gpu((10, 0), 148, 228 * 1024, 64, 32),  # B200
    sm_120=Gpu((12, 0), 170, 100 * 1024, 48, 24),  # GeForce RTX 5090
)
_H100 = TARGETS['sm_90']


class _Pointer(MockTensor):
    """What Triton asks a tensor for when it compiles."""

    def __init__(self, tensor: Tensor):
        super().__init__(tensor.dtype, tuple(tensor.shape))
        self._address = tensor.storage_offset() * tensor.element_size()

    def data_ptr(self) -> int:
        return self._address


class Start(NamedTuple):
    """A kernel that is started, and its arguments."""

    kernel: triton.JITFunction
    programs: int
    args: tuple
    kwargs: dict


def starts(
    path: str,
    x_shape: tuple[int, int, int, int],
    dtype: torch.dtype,
    is_dynamic: bool = True,
    gpu: Gpu = _H100,
) -> list[list[Start]]:
    """The kernels that a path starts for a filter, forward and backward.

    Args:
        path (str): Path, see :func:`mmfft.ops.use_path`.
        x_shape (tuple[int, int, int, int]): Shape ``(B, H, W, C)``.
        dtype (torch.dtype): Dtype of the map.
        is_dynamic (bool): Whether the filter is dynamic. Defaults to True.
        gpu (Gpu): The GPU. Defaults to an H100.

    Returns:
        list[list[Start]]: Those of the forward pass, and of the backward one.
    """
    found: list[Start] = []
    batch, *grid, channels = x_shape
    filters = _NUM_FILTERS if is_dynamic else channels

    def start(kernel, programs, *args, **kwargs):
        found.append(Start(kernel, programs, args, kwargs))

    pretended = pretended_gpu(start, gpu.multiprocessors, gpu.capability)
    with pretended, use_path(path):
        x = torch.empty(x_shape, dtype=dtype, device='cuda')
        routing = x.new_empty(batch, filters, channels) if is_dynamic else None
        filter = torch.empty(
            *half_spectrum_shape(grid), filters, 2, device='cuda'
        )
        implementation = filter_for(x)
        implementation.forward(x, routing, filter)
        forward = found.copy()
        implementation.backward(x, x, routing, filter)
    return [forward, found[len(forward) :]]


def compiled(start: Start, gpu: Gpu = _H100):
    """A kernel compiled for the arguments that it is started with."""
    kernel = start.kernel
    major, minor = gpu.capability
    target = GPUTarget('cuda', 10 * major + minor, _WARP)
    backend = make_backend(target)
    args = [
        _Pointer(arg) if isinstance(arg, Tensor) else arg for arg in start.args
    ]
    kwargs = dict(start.kwargs, debug=False)
    # As triton.JITFunction.run does.
    bind = create_function_from_signature(
        kernel.signature, kernel.params, backend
    )
    bound, specialization, options = bind(*args, **kwargs)
    options, signature, constants, attributes = kernel._pack_args(
        backend, kwargs, bound, specialization, options
    )
    source = ASTSource(kernel, signature, constants, attributes)
    return triton.compile(source, target=target, options=vars(options))


class Code(NamedTuple):
    """What a compiled kernel takes.

    Attributes:
        registers (int): Per thread.
        local (int): Bytes of local memory per thread.
        shared (int): Bytes of shared memory per program.
        warps (int): Per program.
        opcodes (Counter): How often each instruction stands in the code.
        once (int): Number of instructions outside of loops.
        repeated (int): Number of instructions within loops.
        loops (int): Number of loops.
        gpu (Gpu): What it was compiled for.
    """

    registers: int
    local: int
    shared: int
    warps: int
    opcodes: Counter
    once: int
    repeated: int
    loops: int
    gpu: Gpu = _H100

    @property
    def resident(self) -> int:
        """Number of programs that a multiprocessor holds at once."""
        registers = 8 * math.ceil(self.registers / 8) * _WARP * self.warps
        return min(
            _REGISTERS // registers,
            self.gpu.shared // (self.shared + _OWN_SHARED),
            self.gpu.warps // self.warps,
            self.gpu.programs,
        )

    @property
    def tensor_cores(self) -> str:
        """Number and kind of the instructions on tensor cores."""
        found = {k: n for k, n in self.opcodes.items() if k in _TENSOR_CORES}
        return ', '.join(f'{n} {k}' for k, n in found.items())


def disassembled(kernel, gpu: Gpu = _H100) -> Code:
    """What a kernel takes that was compiled for a GPU."""
    tools = triton.knobs.nvidia
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'kernel.cubin'
        path.write_bytes(kernel.asm['cubin'])
        usage, listing = (
            subprocess.run(
                [*command, path], capture_output=True, text=True, check=True
            ).stdout
            for command in (
                [tools.cuobjdump.path, '--dump-resource-usage'],
                [tools.nvdisasm.path, '--print-code'],
            )
        )
    registers, local = re.search(r'REG:(\d+) STACK:(\d+)', usage).groups()
    opcodes, loops = parse(listing)
    repeated = sum(
        any(start <= address <= end for start, end in loops)
        for address in opcodes
    )
    return Code(
        registers=int(registers),
        local=int(local),
        shared=kernel.metadata.shared,
        warps=kernel.metadata.num_warps,
        opcodes=Counter(opcodes.values()),
        once=len(opcodes) - repeated,
        repeated=repeated,
        loops=len(loops),
        gpu=gpu,
    )


_LINE = re.compile(r'/\*([0-9a-f]+)\*/\s+(?:@!?U?P\w+\s+)?([A-Z]\w*)(.*)')


def parse(
    listing: str,
) -> tuple[dict[int, str], list[tuple[int, int]]]:
    """Read what nvdisasm prints.

    Args:
        listing (str): The code of one function.

    Returns:
        tuple[dict[int, str], list[tuple[int, int]]]: Instructions by their
        addresses, without padding, and the first and last address of each
        loop.
    """
    opcodes: dict[int, str] = {}
    labels: dict[str, int] = {}
    waiting: list[str] = []
    jumps = []
    for line in listing.splitlines():
        label = re.match(r'(\.L\w+):', line)
        if label:
            waiting.append(label[1])
        instruction = _LINE.search(line)
        if not instruction:
            continue
        address, opcode = int(instruction[1], 16), instruction[2]
        labels.update(dict.fromkeys(waiting, address))
        waiting.clear()
        if opcode == 'NOP':
            continue
        opcodes[address] = opcode
        target = re.search(r'\((\.L\w+)\)', instruction[3])
        if opcode == 'BRA' and target:
            jumps.append((address, target[1]))
    loops = {}
    for address, label in jumps:
        start = labels.get(label, address)
        # A jump to itself fills the end of a function.
        if start == address:
            del opcodes[address]
        elif start < address:
            loops[start] = max(address, loops.get(start, 0))
    return opcodes, sorted(loops.items())


def rows(
    path: str,
    x_shape: tuple[int, int, int, int],
    dtype: torch.dtype,
    is_dynamic: bool,
    gpu: Gpu = _H100,
) -> list[dict]:
    """What each kernel of a path takes, see the top of this file."""
    passes, unlimited = (
        starts(path, x_shape, dtype, is_dynamic, started_on)
        for started_on in (gpu, gpu._replace(multiprocessors=10**6))
    )
    found = []
    for name, ours, theirs in zip(('forward', 'backward'), passes, unlimited):
        for start, other in zip(ours, theirs, strict=True):
            code = disassembled(compiled(start, gpu), gpu)
            turns = other.programs / start.programs
            executed = code.once + turns * code.repeated
            threads = start.programs * code.warps * _WARP
            found.append(
                {
                    'pass': name,
                    'kernel': start.kernel.__name__.strip('_'),
                    'programs': start.programs,
                    'warps': code.warps,
                    'registers': code.registers,
                    'local': code.local,
                    'shared': code.shared,
                    'resident': code.resident,
                    'tensor cores': code.tensor_cores,
                    'unknown loops': code.loops - (turns > 1),
                    'instructions': executed * threads / math.prod(x_shape),
                }
            )
    return found


def _line(cells: list) -> str:
    return f'| {" | ".join(map(str, cells))} |'


def main(argv=None):
    p = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    p.add_argument(
        '--paths', nargs='+', required=True, help='see mmfft.ops.use_path'
    )
    p.add_argument(
        '--grids',
        nargs='+',
        type=size_of,
        default=[(7, 7), (14, 14), (28, 28), (56, 56)],
    )
    p.add_argument('--channels', type=int, default=256)
    p.add_argument('--batch', type=int, default=128)
    p.add_argument('--dtype', choices=DTYPES, default='bfloat16')
    p.add_argument(
        '--precision',
        choices=('highest', 'high', 'medium'),
        default='highest',
        help='see torch.set_float32_matmul_precision',
    )
    p.add_argument(
        '--static', action='store_true', help='filters that are not dynamic'
    )
    p.add_argument(
        '--target',
        choices=TARGETS,
        default='sm_90',
        help='what to compile for: A100, RTX 3090 and 4090, H100, B200, '
        'RTX 5090',
    )
    args = p.parse_args(argv)
    torch.set_float32_matmul_precision(args.precision)
    heads = None
    for path in args.paths:
        for grid in args.grids:
            shape = (args.batch, *grid, args.channels)
            found = rows(
                path,
                shape,
                DTYPES[args.dtype],
                not args.static,
                TARGETS[args.target],
            )
            for row in found:
                row['shared'] = f'{row["shared"] / 1024:.0f} KiB'
                least = '>= ' if row.pop('unknown loops') else ''
                row['instructions'] = f'{least}{row["instructions"]:.1f}'
                row = dict(path=path, grid=f'{grid[0]}x{grid[1]}', **row)
                if heads is None:
                    heads = list(row)
                    print(_line(heads))
                    print(_line(['---'] * len(heads)))
                print(_line(row.values()))


if __name__ == '__main__':
    main()
