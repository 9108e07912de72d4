# Copyright (c) mmfft authors. All rights reserved.
"""Bring annotations of other forms into COCO's, as mmdet reads them.

Writes OUT/train.json and OUT/val.json, and test.json if the source has such a
split. Pictures stay where they are; if OUT does not contain them, they are
linked to OUT/images. Faults of the source are listed.
"""

import argparse
import sys

from mmfft.datasets.check import show_problems
from mmfft.datasets.converters.coco import READERS, to_coco
from mmfft.engine import command_line


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('source', help='folder, or JSON file of VIA')
    parser.add_argument(
        '--from',
        dest='form',
        required=True,
        choices=list(READERS),
        help='form of the source',
    )
    parser.add_argument('--out', help='folder to write to (default: source)')
    parser.add_argument(
        '--classes',
        nargs='+',
        metavar='NAME',
        help='names of the classes, in this order; objects of others are left '
        'out (default: those that are found)',
    )
    parser.add_argument(
        '--class-attribute',
        metavar='NAME',
        help="attribute of VIA's regions that is the class (default: the most "
        'frequent one)',
    )
    for name in ('train', 'val'):
        parser.add_argument(
            f'--{name}-list', help=f'file with the names of its {name} images'
        )
    parser.add_argument(
        '--val-fraction',
        type=float,
        default=0.2,
        help='fraction for validation, 0.2 by default, if the source has no '
        'splits of its own',
    )
    parser.add_argument('--seed', type=int, default=0, help='of the split')
    parser.add_argument(
        '--overwrite',
        action='store_true',
        help='replace train.json, val.json and test.json',
    )
    return parser.parse_args()


def main():
    args = parse_args()
    lists = dict(train=args.train_list, val=args.val_list)
    with command_line('to_coco.py'):
        overview, problems, said = to_coco(
            args.source,
            args.form,
            args.out,
            args.classes,
            args.val_fraction,
            args.seed,
            {name: path for name, path in lists.items() if path},
            args.class_attribute,
            args.overwrite,
        )
    show_problems(overview, problems)
    for line in said:
        print(line)
    print(f'written to {args.out or args.source}')
    if problems:
        count = f'{len(problems)} fault{"s" if problems[1:] else ""}'
        print(f'to_coco.py: {count} of the source, see above', file=sys.stderr)


if __name__ == '__main__':
    main()
