# Copyright (c) mmfft authors. All rights reserved.
"""Compare the filter of mmpretrain's HorNet-GF with ours in its place.

    python -m benchmarks.hornet --batch 8 --threads 1

The layers are those of HorNet-T-GF, on its two grids. ``filter`` is the filter
alone, ``layer`` has the norms and the convolution around it, which both have.
Training is forward and backward. Each row has the error of ours against
theirs, relative in the norm.
"""

import copy
import sys
from functools import cache, partial
from itertools import product

import torch
from mmpretrain.models.backbones.hornet import GlobalLocalFilter, HorNet
from torch import Tensor, nn

from benchmarks.common import Recorder, batches, parser, text_of
from benchmarks.op import error_of
from mmfft.layers import GlobalFilter2d

ARCH = 'tiny-gf'
IMAGE = (224, 224)


class OurLocalFilter(GlobalLocalFilter):
    """Their layer with its weights, and our filter.

    Args:
        layer (GlobalLocalFilter): Their layer, which is not changed.
        grid (tuple[int, int]): Its grid.
    """

    def __init__(self, layer: GlobalLocalFilter, grid: tuple[int, int]):
        nn.Module.__init__(self)
        layer = copy.deepcopy(layer)
        self.pre_norm, self.dw = layer.pre_norm, layer.dw
        self.post_norm = layer.post_norm
        weight = layer.complex_weight.detach().permute(1, 2, 0, 3)
        self.filter = GlobalFilter2d(weight.shape[2], grid)
        self.filter.filter.weight = nn.Parameter(weight.contiguous())

    def forward(self, x: Tensor) -> Tensor:
        local, spectral = self.pre_norm(x).chunk(2, 1)
        parts = [self.dw(local), self.filter(spectral)]
        return self.post_norm(torch.stack(parts, 2).flatten(1, 2))


def their_layers() -> dict[tuple[int, int], GlobalLocalFilter]:
    """The first layer with a filter of each stage, by its grid."""
    torch.manual_seed(0)
    model = HorNet(ARCH)
    layers = {}
    for stage, blocks in enumerate(model.stages):
        layer = blocks[0].gnconv.dwconv
        if isinstance(layer, GlobalLocalFilter):
            # As large as features, so that errors show.
            nn.init.normal_(layer.complex_weight)
            layers[tuple(n >> (2 + stage) for n in IMAGE)] = layer
    return layers


class Case:
    """One grid, part of the layer and batch, in inference or training."""

    def __init__(self, grid, layer, part, batch, train, device):
        layer = copy.deepcopy(layer)
        if part == 'filter':
            layer.pre_norm = layer.dw = layer.post_norm = nn.Identity()
        self.channels = 2 * len(layer.complex_weight)
        self.layers = dict(hornet=layer, mmfft=OurLocalFilter(layer, grid))
        self.train = train
        for layer in self.layers.values():
            layer.to(device)
        x = torch.randn(batch, self.channels, *grid).to(device)
        self.x = x.requires_grad_(train)
        self.results = cache(self._results)

    def contenders(self):
        """Functions that prepare the call of each contender."""
        return {name: partial(self._calls, name) for name in self.layers}

    def _calls(self, name):
        return [partial(self._results, name)]

    def _results(self, name) -> list[Tensor]:
        """Output, and in training the gradient of x."""
        layer = self.layers[name]
        with torch.set_grad_enabled(self.train):
            y = layer(self.x)
        if not self.train:
            return [y]
        leaves = [self.x, *layer.parameters()]
        gradients = torch.autograd.grad(y, leaves, self.x.detach())
        return [y.detach(), gradients[0]]

    def extra(self, name, row):
        errors = map(error_of, self.results(name), self.results('hornet'))
        return {f'error_{key}': e for key, e in zip('yx', errors)}


def main(argv=None):
    p = parser(__doc__.splitlines()[0])
    args = p.parse_args(argv)
    if args.dtype != 'float32':
        p.error(f'--dtype {args.dtype}: their layer computes in float32')
    recorder = Recorder('hornet', args, argv)
    layers = their_layers()
    for mode, part, batch in product(
        args.mode, ('filter', 'layer'), batches(args, IMAGE)
    ):
        for grid, layer in layers.items():
            case = Case(
                grid, layer, part, batch, mode == 'train', recorder.device
            )
            recorder.compare(
                dict(
                    mode=mode,
                    part=part,
                    batch=batch,
                    grid=text_of(grid),
                    channels=case.channels,
                ),
                case.contenders(),
                baseline=lambda name: 'hornet',
                extra=case.extra,
            )
    return recorder.finish()


if __name__ == '__main__':
    sys.exit(main())
