# Copyright (c) mmfft authors. All rights reserved.
"""Bring label images into indices of classes, as mmsegmentation reads them.

Writes OUT/img_dir/{train,val}, OUT/ann_dir/{train,val} and OUT/classes.txt.
The source is not changed.
"""

import argparse

from mmfft.datasets.check import show_problems
from mmfft.datasets.converters.label_images import to_index_masks
from mmfft.engine import command_line


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('images', help='folder of the pictures')
    parser.add_argument(
        'labels',
        help='folder of the label images, which have the names of their '
        'pictures, perhaps with _mask, _label, _gt or such at the end',
    )
    parser.add_argument('--out', required=True, help='new folder to write to')
    parser.add_argument(
        '--palette',
        help='file with a line "R G B name", "#rrggbb name" or '
        '"name:R,G,B" for each class, or JSON; without it, classes are the '
        'values or the colours that are found',
    )
    parser.add_argument(
        '--classes',
        nargs='+',
        metavar='NAME',
        help='names of the classes, in the order of their values',
    )
    parser.add_argument(
        '--void',
        nargs='+',
        default=[],
        metavar='CLASS',
        help='name, value or colour (#rrggbb) of pixels without a class, '
        'which become 255',
    )
    parser.add_argument(
        '--unknown',
        choices=('error', 'void'),
        default='error',
        help='what colours are that are not in the palette',
    )
    parser.add_argument(
        '--val-fraction',
        type=float,
        default=0.2,
        help='fraction of the images for validation, 0.2 by default, if the '
        'folders have no train and val in them',
    )
    parser.add_argument('--seed', type=int, default=0, help='of the split')
    for name in ('train', 'val'):
        parser.add_argument(
            f'--{name}-list', help=f'file with the names of its {name} images'
        )
    return parser.parse_args()


def main():
    args = parse_args()
    lists = dict(train=args.train_list, val=args.val_list)
    with command_line('to_index_masks.py'):
        overview, problems, said = to_index_masks(
            args.images,
            args.labels,
            args.out,
            args.palette,
            args.classes,
            args.void,
            args.unknown == 'void',
            args.val_fraction,
            args.seed,
            {name: path for name, path in lists.items() if path},
        )
    show_problems(overview, problems)
    for line in said:
        print(line)
    print(f'written to {args.out}')


if __name__ == '__main__':
    main()
