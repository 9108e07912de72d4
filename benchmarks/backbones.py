# Copyright (c) mmfft authors. All rights reserved.
"""Compare whole backbones with their plain form and with models of timm.

    python -m benchmarks.backbones --sizes 224 384 512 --batch 1 8

A call takes images to the feature map of the last stage; ``train`` is forward
and backward. Names with ``plain`` are the published forms in ``tests/oracle``.
"""

import matplotlib
import timm
import torch
from oracle import models as plain_models

from benchmarks.common import (
    cases,
    parser,
    plot,
    precision,
    report,
    size_of,
)
from mmfft.backbones import CDFFormer, DFFormer, GFNetPyramid
from mmfft.measure import compare

matplotlib.use('Agg')

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
    bare = name.removeprefix('plain ').removesuffix(COMPILED)
    own = f'plain {bare}'
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


def features(model: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Compute the last feature map of any of the models."""
    y = getattr(model, 'forward_features', model)(x)
    return y[-1] if isinstance(y, tuple) else y


def contender(args, name, size, x, train):
    model = build(name.removesuffix(COMPILED), size)
    model = model.to(args.device).train(train)
    run = lambda x: features(model, x)  # noqa: E731
    if name.endswith(COMPILED):
        run = torch.compile(run, fullgraph=True, dynamic=False)

    def call():
        model.zero_grad()
        with precision(args), torch.set_grad_enabled(train):
            y = run(x)
        if train:
            y.float().mean().backward()

    return call


def main(argv=None):
    p = parser(__doc__.splitlines()[0])
    p.add_argument('--models', nargs='+', choices=MODELS, default=MODELS)
    p.add_argument('--sizes', nargs='+', type=size_of, default=[(224, 224)])
    p.add_argument(
        '--compile',
        action='store_true',
        help='measure compiled models too, except the plain ones, which fail',
    )
    args = p.parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    names = list(args.models)
    if args.compile:
        plain = {name for name in names if name.startswith('plain ')}
        names += [name + COMPILED for name in names if name not in plain]
    rows = []
    for mode, size, batch in cases(args.mode, args.sizes, args.batch):
        torch.compiler.reset()
        x = torch.randn(batch, 3, *size, device=device)
        calls = {
            name: contender(args, name, size, x, mode == 'train')
            for name in names
        }
        results = compare(calls, device, args.rounds)
        for name, result in results.items():
            if 'seconds' in result:
                result['images_per_second'] = batch / result['seconds']
            case = dict(mode=mode, image='x'.join(map(str, size)), batch=batch)
            rows.append(dict(case, name=name, **result))
    report(args, 'backbones', rows, baseline)
    for key, ylabel in (
        ('images_per_second', 'images/s'),
        ('memory', 'peak memory, bytes'),
    ):
        plot(
            args,
            f'backbones_{key}',
            rows,
            panel=lambda row: f'{row["mode"]}, batch {row["batch"]}',
            label=lambda row: row['image'],
            value=lambda row, key=key: row.get(key),
            ylabel=ylabel,
        )


if __name__ == '__main__':
    main()
