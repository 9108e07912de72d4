# Copyright (c) mmfft authors. All rights reserved.
"""Measure what another boundary than the circular one costs.

    python -m benchmarks.boundary --batch 1 --threads 1

``layer`` is a DynamicFilter on the grids of DFFormer-S18's stages, stored for
the grid that it runs on, ``backbone`` a whole DFFormer-S18 or CDFFormer-S18
that is stored for the size of the image. Training is forward and backward.
"""

import sys
from functools import partial
from itertools import product

import torch
from torch import nn

from benchmarks.common import (
    Modules,
    Recorder,
    batches,
    parser,
    size_of,
    text_of,
)
from benchmarks.op import grids_of
from mmfft.layers import DynamicFilter
from mmfft.models import CDFFormer, DFFormer
from mmfft.ops import BOUNDARIES

BACKBONES = (DFFormer, CDFFormer)


def with_boundaries(build) -> dict[str, nn.Module]:
    """The same module for every boundary."""
    modules = {}
    for boundary in BOUNDARIES:
        torch.manual_seed(0)
        modules[boundary] = build(boundary=boundary)
    return modules


def cases(size, batch):
    """What is measured for images of a size: key, builder, shape."""
    dims = DFFormer.arch_zoo['s18']['embed_dims']
    for dim, grid in zip(dims, grids_of(size)):
        yield (
            dict(part='layer', map=f'{text_of(grid)}x{dim}'),
            partial(DynamicFilter, dim, grid),
            (batch, *grid, dim),
        )
    for backbone in BACKBONES:
        yield (
            dict(part='backbone', map=backbone.__name__),
            partial(backbone, 's18', img_size=size),
            (batch, 3, *size),
        )


def main(argv=None):
    p = parser(__doc__.splitlines()[0])
    p.add_argument(
        '--sizes', nargs='+', type=size_of, default=[(224, 224), (800, 1344)]
    )
    args = p.parse_args(argv)
    recorder = Recorder('boundary', args, argv)
    for size, mode in product(args.sizes, args.mode):
        for batch in batches(args, size):
            for key, build, shape in cases(size, batch):
                modules = with_boundaries(build)
                case = Modules(modules, shape, mode == 'train', args)
                recorder.compare(
                    dict(mode=mode, image=text_of(size), batch=batch, **key),
                    case.contenders(),
                    baseline=lambda name: 'circular',
                )
    return recorder.finish()


if __name__ == '__main__':
    sys.exit(main())
