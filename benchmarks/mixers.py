# Copyright (c) mmfft authors. All rights reserved.
"""Compare whole token mixers on the grids of S18's stages.

    python -m benchmarks.mixers --sizes 224 --batch 8 --threads 1

The contenders take a map ``(B, H, W, C)``: the published form of DFFormer's
mixer (``plain DynamicFilter``), ours, ConvFormer's ``SepConv``, with which all
are compared, and in the last two stages, where CAFormer has it, timm's fused
``Attention``. All but ``Attention`` widen the channels twofold inside.
Training is forward and backward.
"""

import sys
from itertools import product

import torch
from oracle import models as plain_models
from timm.models.metaformer import Attention
from torch import nn

from benchmarks.common import (
    KERNELS,
    Modules,
    Recorder,
    batches,
    parser,
    size_of,
    text_of,
)
from benchmarks.op import grids_of
from mmfft.layers import DynamicFilter, SepConv
from mmfft.models import DFFormer

BASELINE = 'SepConv'
DIMS = DFFormer.arch_zoo['s18']['embed_dims']
WITH_ATTENTION = (3, 4)  # stages


def mixers_of(stage: int, grid: tuple[int, int]) -> dict[str, nn.Module]:
    """Build the mixers of a stage, with random weights."""
    torch.manual_seed(0)
    dim = DIMS[stage - 1]
    mixers = {
        'plain DynamicFilter': plain_models.DynamicFilter(dim, grid),
        'DynamicFilter': DynamicFilter(dim, grid),
        BASELINE: SepConv(dim),
    }
    if stage in WITH_ATTENTION:
        # Its tokens are not in two dimensions.
        mixers['Attention'] = nn.Sequential(nn.Flatten(1, 2), Attention(dim))
    return mixers


def main(argv=None):
    p = parser(__doc__.splitlines()[0])
    p.add_argument(
        '--sizes', nargs='+', type=size_of, default=[(224, 224), (800, 1344)]
    )
    p.add_argument('--stages', nargs='+', type=int, default=[3, 4, 2, 1])
    args = p.parse_args(argv)
    recorder = Recorder('mixers', args, argv)
    for size, mode, stage in product(args.sizes, args.mode, args.stages):
        grid, dim = grids_of(size)[stage - 1], DIMS[stage - 1]
        for batch in batches(args, size):
            mixers = mixers_of(stage, grid)
            if recorder.device.type == 'cuda':
                ours = 'DynamicFilter'
                mixers[ours + KERNELS] = mixers[ours]
            case = Modules(mixers, (batch, *grid, dim), mode == 'train', args)
            recorder.compare(
                dict(
                    mode=mode,
                    image=text_of(size),
                    batch=batch,
                    grid=text_of(grid),
                    channels=dim,
                ),
                case.contenders(),
                baseline=lambda name: BASELINE,
            )
    return recorder.finish()


if __name__ == '__main__':
    sys.exit(main())
