# Copyright (c) mmfft authors. All rights reserved.
"""Compare the layers of two models on a folder of images by linear CKA."""

import argparse
from pathlib import Path

import torch
from mmengine.fileio import dump

from mmfft.analysis.feature_models import (
    SPEC_HELP,
    label,
    load_feature_model,
    read_images,
)
from mmfft.analysis.similarity import (
    layer_names,
    layer_similarity,
    plot_similarity,
)
from mmfft.engine import command_line, image_channels
from mmfft.errors import ConfigError


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('first', help=SPEC_HELP)
    parser.add_argument('second', help='the same for the other model')
    parser.add_argument('--images', required=True, help='a folder of images')
    parser.add_argument('--size', type=int, default=224, help='side in pixels')
    parser.add_argument(
        '--count', type=int, default=256, help='number of images'
    )
    parser.add_argument('--batch', type=int, default=64)
    parser.add_argument(
        '--layers',
        nargs=2,
        default=[None, None],
        metavar=('FIRST', 'SECOND'),
        help='regular expressions for names of modules; by default those of '
        'residual blocks',
    )
    parser.add_argument(
        '--seed', type=int, default=0, help='seed of random weights'
    )
    parser.add_argument(
        '--out',
        default='work_dirs/similarity',
        help='folder of similarity.png and .json',
    )
    return parser.parse_args()


def main():
    args = parse_args()
    with command_line('similarity.py'):
        models, layers = [], []
        for spec, pattern in zip((args.first, args.second), args.layers):
            torch.manual_seed(args.seed)
            models.append(load_feature_model(spec, args.size))
            layers.append(layer_names(models[-1], pattern))
        channels, others = map(image_channels, models)
        if channels != others:
            raise ConfigError(
                f'{args.first!r} takes images of {channels} channels, '
                f'{args.second!r} of {others}: they cannot see the same images'
            )
        images = read_images(args.images, args.size, args.count, channels)
        # A remainder that is too small for the estimate is left out.
        batches = [b for b in images.split(args.batch) if len(b) >= 4]
        values = layer_similarity(*models, batches, *layers)
    out = Path(args.out)
    plot_similarity(
        values,
        (label(args.first), layers[0]),
        (label(args.second), layers[1]),
        out / 'similarity.png',
    )
    dump(
        dict(
            first=dict(model=args.first, layers=layers[0]),
            second=dict(model=args.second, layers=layers[1]),
            images=sum(map(len, batches)),
            cka=values.tolist(),
        ),
        str(out / 'similarity.json'),
        indent=1,
    )
    print(f'written: {out}/similarity.png, similarity.json')


if __name__ == '__main__':
    main()
