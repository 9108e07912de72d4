# Copyright (c) mmfft authors. All rights reserved.
"""Draw the effective receptive field of backbones side by side.

It shows which pixels influence the features at the centre, averaged over the
images of a folder or, if none is given, over Gaussian noise.
"""

import argparse
from pathlib import Path

import torch
from mmengine.fileio import dump

from mmfft.analysis.feature_models import (
    SPEC_HELP,
    load_feature_model,
    read_images,
)
from mmfft.analysis.receptive_field import (
    area_ratios,
    contributions,
    plot_fields,
)
from mmfft.engine import command_line, image_channels


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('models', nargs='+', help=SPEC_HELP)
    parser.add_argument(
        '--strides', type=int, nargs='+', default=[4, 8, 16, 32]
    )
    parser.add_argument('--size', type=int, default=224, help='side in pixels')
    parser.add_argument('--images', help='a folder of images')
    parser.add_argument(
        '--count', type=int, default=16, help='number of images'
    )
    parser.add_argument(
        '--seed', type=int, default=0, help='seed of random weights'
    )
    parser.add_argument(
        '--out',
        default='work_dirs/receptive_field',
        help='folder of receptive_field.png and .json',
    )
    return parser.parse_args()


def main():
    args = parse_args()
    fields = {}
    with command_line('receptive_field.py'):
        for spec in args.models:
            torch.manual_seed(args.seed)
            model = load_feature_model(spec, args.size)
            channels = image_channels(model)
            if args.images:
                images = read_images(
                    args.images, args.size, args.count, channels
                )
            else:
                torch.manual_seed(args.seed)
                images = torch.randn(
                    args.count, channels, args.size, args.size
                )
            fields[spec] = {
                stride: contributions(model, images, stride)
                for stride in args.strides
            }
    ratios = {
        name: {
            stride: {str(k): round(v, 5) for k, v in area_ratios(f).items()}
            for stride, f in by_stride.items()
        }
        for name, by_stride in fields.items()
    }
    print('area of the image that contains a share of the contributions, %')
    for name, by_stride in ratios.items():
        for stride, areas in by_stride.items():
            text = ', '.join(
                f'{100 * float(share):g} %: {100 * area:.2f}'
                for share, area in areas.items()
            )
            print(f'{name}, stride {stride}: {text}')
    out = Path(args.out)
    plot_fields(fields, out / 'receptive_field.png')
    dump(
        dict(size=args.size, images=len(images), area_ratios=ratios),
        str(out / 'receptive_field.json'),
        indent=1,
    )
    print(f'written: {out}/receptive_field.png, receptive_field.json')


if __name__ == '__main__':
    main()
