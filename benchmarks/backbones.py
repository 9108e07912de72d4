# Copyright (c) mmfft authors. All rights reserved.
"""Compare whole backbones with their plain form and with models of timm.

    python -m benchmarks.backbones --sizes 224 384 512 --batch 1 8

A call takes images to the feature map of the last stage; ``train`` is forward
and backward. Names with ``plain`` are the published forms in ``tests/oracle``.

On a CPU the models of a case are measured in interleaved rounds, which makes
their ratios trustworthy although the machine's speed drifts. On a GPU each
model is built on the CPU, moved to the GPU for its turn and dropped: one model
at a time has all of the memory.
"""

import argparse
import sys
from functools import partial
from itertools import product

import timm
import torch
from oracle import models as plain_models
from torch.nn.utils import convert_conv2d_weight_memory_format

from benchmarks.common import (
    DTYPES,
    KERNELS,
    Recorder,
    autocast,
    batches,
    forced,
    parser,
    path_of,
    size_of,
    text_of,
)
from mmfft.backbones import CDFFormer, DFFormer, GFNetPyramid

OURS = dict(dfformer=DFFormer, cdfformer=CDFFormer)
MODELS = (
    'plain dfformer_s18',
    'dfformer_s18',
    'plain cdfformer_s18',
    'cdfformer_s18',
    'plain gfnet-h-ti',
    'gfnet-h-ti',
    'caformer_s18',
    'convformer_s18',
    'swin_tiny_patch4_window7_224',
    'convnext_tiny',
)
COMPILED = ', compiled'


def baseline(name: str) -> str:
    """Name of the model with which a model is compared."""
    own = f'plain {name.removeprefix("plain ").partition(", ")[0]}'
    return own if own in MODELS else 'plain dfformer_s18'


def build(name: str, size: tuple[int, int]) -> torch.nn.Module:
    """Build a model by its name, with random weights."""
    torch.manual_seed(0)
    if name.startswith('plain '):
        return plain_models.build(name.removeprefix('plain '), size)
    if name.startswith('gfnet-'):
        arch = name.removeprefix('gfnet-')
        return GFNetPyramid(arch, img_size=size, out_indices=-1)
    family, _, arch = name.partition('_')
    if family in OURS:
        return OURS[family](
            arch, img_size=size, out_indices=-1, out_norm=False
        )
    options = dict(img_size=size) if name.startswith('swin') else {}
    return timm.create_model(name, num_classes=0, **options)


def variants(
    names: list[str], device: torch.device
) -> tuple[list[str], list[str]]:
    """Names of what is measured of some models, eager and compiled.

    On a GPU ours run a second time, with the kernels of Triton.
    """
    eager = []
    for name in names:
        eager.append(name)
        if device.type == 'cuda' and f'plain {name}' in MODELS:
            eager.append(name + KERNELS)
    compiled = [
        name + COMPILED for name in eager if not name.startswith('plain ')
    ]
    return eager, compiled


def features(model: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Compute the last feature map of any of the models."""
    y = getattr(model, 'forward_features', model)(x)
    return y[-1] if isinstance(y, tuple) else y


class Case:
    """One size and batch, in inference or training."""

    def __init__(self, size, batch, train, args):
        self.size, self.batch, self.train, self.args = size, batch, train, args
        self.device, self.dtype = torch.device(args.device), DTYPES[args.dtype]

    def calls(self, name):
        """Prepare the call of a model, which is built on the CPU."""
        model = build(name.partition(', ')[0], self.size)
        model = model.to(self.device).train(self.train)
        x = torch.randn(self.batch, 3, *self.size).to(self.device)
        if self.args.channels_last:
            convert_conv2d_weight_memory_format(model, torch.channels_last)
            x = x.to(memory_format=torch.channels_last)
        run = partial(features, model)
        if COMPILED in name:
            run = torch.compile(
                run, fullgraph=True, dynamic=False, mode=self.args.compile
            )

        def step():
            context = autocast(self.device, self.dtype)
            with context, torch.set_grad_enabled(self.train):
                y = run(x)
            if self.train:
                y.float().mean().backward()
                # At the end: the next call would free them, and its peak
                # would be too small.
                model.zero_grad()

        def call():
            with forced(path_of(name)):
                step()

        return [call]

    def extra(self, name, row):
        if 'ms' not in row:
            return {}
        return dict(images_per_second=1e3 * self.batch / row['ms'])


def model_parser(description: str) -> argparse.ArgumentParser:
    """Make a parser of the arguments that all measurements of models have."""
    p = parser(description)
    p.add_argument('--models', nargs='+', choices=MODELS, default=MODELS)
    p.add_argument(
        '--sizes',
        nargs='+',
        type=size_of,
        help='224 by default; on a GPU also 512 and 800x1344',
    )
    p.add_argument(
        '--channels-last',
        action='store_true',
        help='store images and the weights of convolutions channels-last',
    )
    return p


def sizes_of(args: argparse.Namespace) -> list[tuple[int, int]]:
    """Sizes of the images."""
    large = [(512, 512), (800, 1344)] if args.device != 'cpu' else []
    return args.sizes or [(224, 224), *large]


def main(argv=None):
    p = model_parser(__doc__.splitlines()[0])
    p.add_argument(
        '--compile',
        nargs='?',
        const='default',
        metavar='MODE',
        help='measure compiled models too, except the plain ones, which fail; '
        "MODE is one of torch.compile's, such as reduce-overhead",
    )
    args = p.parse_args(argv)
    recorder = Recorder('backbones', args, argv)
    names, compiled = variants(args.models, torch.device(args.device))
    if not args.compile:
        compiled = []
    for size, mode in product(sizes_of(args), args.mode):
        for batch in batches(args, size):
            case = Case(size, batch, mode == 'train', args)
            key = dict(mode=mode, image=text_of(size), batch=batch)
            recorder.compare(
                key,
                {name: partial(case.calls, name) for name in names + compiled},
                baseline,
                case.extra,
                compiled,
            )
    return recorder.finish()


if __name__ == '__main__':
    sys.exit(main())
