# Copyright (c) mmfft authors. All rights reserved.
"""Triton's kernels, compiled for a GPU that is not there."""

from itertools import chain

import pytest
import torch

triton = pytest.importorskip('triton', reason='no Triton here')
if tuple(map(int, triton.__version__.split('.')[:2])) < (3, 6):
    pytest.skip(
        'older compilers have another interface', allow_module_level=True
    )

from benchmarks import kernels  # noqa: E402
from mmfft.ops import KERNEL_PATHS, chosen_path, use_path  # noqa: E402

# The largest of each padded size, which need the most.
GRIDS = {
    'pairs': ((11, 11), (14, 14)),
    'quadrants': ((28, 28),),
    'rows': ((56, 56), (200, 336)),
}
H100 = kernels.TARGETS['sm_90']
# Bytes per thread: some functions have a table there, and few spills do not
# matter.
LARGEST_LOCAL = 400

LISTING = """
\t.section\t.text.kernel,"ax",@progbits
.text.kernel:
        /*0000*/                   LDC R1, c[0x0][0x28] ;
        /*0010*/              @!P0 BRA `(.L_x_1) ;
.L_x_0:
        /*0020*/                   HGMMA.64x64x8.F32.TF32 R24, gdesc[UR4] ;
        /*0030*/         @!UP1 UIADD3 UR4, UR4, 0x2, URZ ;
        /*0040*/               @P1 BRA `(.L_x_0) ;
.L_x_1:
        /*0050*/                   EXIT ;
.L_x_2:
        /*0060*/                   BRA `(.L_x_2);
        /*0070*/                   NOP;
.L_x_3:
"""


def test_listing():
    opcodes, loops = kernels.parse(LISTING)
    assert list(opcodes.values()) == [
        'LDC',
        'BRA',
        'HGMMA',
        'UIADD3',
        'BRA',
        'EXIT',
    ]
    assert loops == [(0x20, 0x40)]


def code(**changes):
    values = dict(registers=0, local=0, shared=0, warps=8, opcodes={}, once=0)
    return kernels.Code(**{**values, **changes}, repeated=0, loops=0)


def test_programs_on_a_multiprocessor():
    # Threads get registers by eights; 2,048 threads and 32 programs at most.
    assert code(registers=128).resident == 2
    assert code(registers=129).resident == 1
    assert code(registers=24).resident == 8
    assert code(registers=24, warps=1).resident == 32
    assert code(registers=24, shared=113 * 1024).resident == 2
    assert code(registers=24, shared=114 * 1024).resident == 1
    assert code(opcodes=dict(HMMA=3, FADD=1)).tensor_cores == '3 HMMA'
    rtx_3090 = kernels.TARGETS['sm_86']
    assert code(registers=24, gpu=rtx_3090).resident == 6
    assert code(registers=24, warps=1, gpu=rtx_3090).resident == 16
    assert code(registers=24, shared=50 * 1024, gpu=rtx_3090).resident == 1


@pytest.mark.slow
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('path', KERNEL_PATHS)
def test_kernels_fit_an_h100(path, dtype):
    found = 0
    for grid in GRIDS[path]:
        with use_path(path):
            if chosen_path(grid, torch.device('cuda'), dtype) != path:
                continue
        for is_dynamic in (True, False):
            shape = (8, *grid, 128)
            for row in kernels.rows(path, shape, dtype, is_dynamic):
                assert row['shared'] <= H100.largest_shared, row
                assert row['local'] <= LARGEST_LOCAL, row
                assert row['resident'] > 0, row
                assert row['instructions'] > 0, row
                found += 1
    assert found


def test_the_compiler_keeps_what_rounds_to_tf32():
    [forward, _] = kernels.starts('pairs', (2, 5, 6, 32), torch.bfloat16)
    for start in forward:
        code = kernels.compiled(start).asm['ptx']
        # 8193 x, and the fused 8193 x - 8192 x.
        assert 0 < code.count('0f46000400') <= code.count('0fC6000000')


@pytest.mark.slow
@pytest.mark.parametrize(
    'path, grid, dtype, is_dynamic',
    # The largest maps of each path.
    [
        ('pairs', (8, 7), torch.float32, True),
        ('quadrants', (31, 31), torch.float16, False),
        ('rows', (50, 84), torch.float16, False),
    ],
)
def test_kernels_fit_other_gpus(path, grid, dtype, is_dynamic):
    gpu = kernels.TARGETS['sm_80']
    passes = kernels.starts(path, (8, *grid, 128), dtype, is_dynamic, gpu)
    shared = [
        kernels.compiled(start, gpu).metadata.shared
        for start in chain(*passes)
        if start.kernel.__module__.endswith(path)  # tables need none
    ]
    # Of an RTX 3090, 4090 or 5090, for which the code is much the same.
    assert max(shared) <= kernels.TARGETS['sm_86'].largest_shared


@pytest.mark.slow
def test_command_line(capsys):
    kernels.main(['--paths', 'triton', '--grids', '5x6', '--batch', '2'])
    heads, _, *lines = (
        [cell.strip() for cell in line.strip('|').split('|')]
        for line in capsys.readouterr().out.splitlines()
    )
    passes = [line[heads.index('pass')] for line in lines]
    assert {*passes} == {'forward', 'backward'}
    assert {line[heads.index('grid')] for line in lines} == {'5x6'}
    assert all(len(line) == len(heads) for line in lines)
