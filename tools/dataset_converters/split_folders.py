# Copyright (c) mmfft authors. All rights reserved.
"""Split a folder of classes into training and validation.

Writes ROOT/train.txt and ROOT/val.txt. The pictures stay where they are.
"""

import argparse

from mmfft.datasets.check import show_problems
from mmfft.datasets.converters.class_folders import split_folders
from mmfft.engine import command_line


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('root', help='folder with a folder a class')
    parser.add_argument(
        '--val-fraction',
        type=float,
        default=0.2,
        help='fraction of each class for validation',
    )
    parser.add_argument('--seed', type=int, default=0, help='of the split')
    return parser.parse_args()


def main():
    args = parse_args()
    with command_line('split_folders.py'):
        overview, problems = split_folders(
            args.root, args.val_fraction, args.seed
        )
    show_problems(overview, problems)
    print(f'{args.root}/train.txt and val.txt written')


if __name__ == '__main__':
    main()
