# Copyright (c) mmfft authors. All rights reserved.
"""Measure the dynamic spectral filter on the grids of DFFormer-S18's stages.

    python -m benchmarks.op --sizes 224 512 800x1344 --batch 8

The contenders are the published formula (``plain``), the operator with its own
choice of path (``mmfft``), the operator with each path forced, and a copy
(``floor``): the least that a layer needs to read x and write y once, and in
training also dy and dx.
"""

import matplotlib
import torch
from oracle import models as plain_models

from benchmarks.common import (
    DTYPES,
    cases,
    parser,
    plot,
    report,
    size_of,
)
from mmfft.measure import compare
from mmfft.ops import dynamic_spectral_filter, half_spectrum_shape, use_path

matplotlib.use('Agg')

CHANNELS = (128, 256, 640, 1024)
NUM_FILTERS = 4


def grids_of(size: tuple[int, int]) -> list[tuple[int, int]]:
    """Compute the grids of the four stages for an image."""
    grids = [tuple((n - 3) // 4 + 1 for n in size)]
    while len(grids) < 4:
        grids.append(tuple((n + 1) // 2 for n in grids[-1]))
    return grids


def forced(path):
    def apply(*tensors):
        with use_path(path):
            return dynamic_spectral_filter(*tensors)

    return apply


def copy(x, routing, basis):
    return x.clone()


def contenders(args, grid, channels, batch, train):
    device, dtype = torch.device(args.device), DTYPES[args.dtype]

    def tensor(*shape, dtype=torch.float32):
        tensor = torch.randn(*shape, device=device, dtype=dtype)
        return tensor.requires_grad_(train)

    tensors = (
        tensor(batch, *grid, channels, dtype=dtype),
        tensor(batch, NUM_FILTERS, channels, dtype=dtype),
        tensor(*half_spectrum_shape(grid), NUM_FILTERS, 2),
    )
    grad = torch.randn_like(tensors[0])

    def run(function):
        def call():
            for tensor in tensors:
                tensor.grad = None
            y = function(*tensors)
            if train:
                y.backward(grad.to(y.dtype))

        return call

    functions = {
        'plain': plain_models.dynamic_spectral_filter,
        'mmfft': dynamic_spectral_filter,
        'mmfft fft': forced('fft'),
        'mmfft matmul': forced('matmul'),
    }
    if device.type == 'cuda':
        functions['mmfft triton'] = forced('triton')
        functions['mmfft triton-whole'] = forced('triton-whole')
    if args.compile:
        functions['mmfft compiled'] = torch.compile(
            dynamic_spectral_filter, fullgraph=True, dynamic=False
        )
    calls = {name: run(function) for name, function in functions.items()}
    calls['floor'] = run(copy)
    return calls


def main(argv=None):
    p = parser(__doc__.splitlines()[0])
    p.add_argument(
        '--sizes',
        nargs='+',
        type=size_of,
        default=[(224, 224), (512, 512), (800, 1344)],
    )
    p.add_argument('--stages', nargs='+', type=int, default=[1, 2, 3, 4])
    p.add_argument('--compile', action='store_true')
    args = p.parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    rows = []
    for mode, size, batch, stage in cases(
        args.mode, args.sizes, args.batch, args.stages
    ):
        grid, channels = grids_of(size)[stage - 1], CHANNELS[stage - 1]
        torch.compiler.reset()
        calls = contenders(args, grid, channels, batch, mode == 'train')
        with torch.set_grad_enabled(mode == 'train'):
            results = compare(calls, device, args.rounds)
        case = dict(
            mode=mode,
            image='x'.join(map(str, size)),
            batch=batch,
            grid='x'.join(map(str, grid)),
            channels=channels,
        )
        rows += [dict(case, name=n, **r) for n, r in results.items()]
    report(args, 'op', rows, lambda name: 'plain')
    plot(
        args,
        'op',
        rows,
        panel=lambda row: (
            f'{row["mode"]}, image {row["image"]}, batch {row["batch"]}'
        ),
        label=lambda row: f'{row["grid"]}\n{row["channels"]}',
        value=lambda row: row.get('speed'),
        ylabel='speed against plain',
    )


if __name__ == '__main__':
    main()
