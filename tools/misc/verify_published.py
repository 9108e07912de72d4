# Copyright (c) mmfft authors. All rights reserved.
"""Test the published weights on ImageNet, beside the published accuracies.

Each published file is tested by the config of its model, at the settings of
the published code. The result is a report to be sent to us, see
docs/results/published.md. No weights were published for detection,
segmentation or 384 pixels.
"""

import argparse
import sys

from mmfft.analysis.verification import verify
from mmfft.checkpoints import published_names
from mmfft.engine import command_line


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--imagenet',
        required=True,
        metavar='DIR',
        help='folder of ImageNet-1K with val in it, as data/imagenet in '
        'docs/how_to/data.md',
    )
    parser.add_argument(
        '--files',
        metavar='DIR',
        help='folder of published files, such as dfformer_s18.pth and '
        'gfnet-xs.pth; by default those of DFFormer and CDFFormer are '
        "downloaded into PyTorch's cache, and those of GFNet are taken from "
        'there',
    )
    parser.add_argument(
        '--variants',
        nargs='+',
        choices=published_names(),
        default=[],
        metavar='NAME',
        help='variants to test, by default all whose files are there: '
        f'{", ".join(published_names())}',
    )
    parser.add_argument(
        '--batch-size', type=int, help='images in a batch (default: 128)'
    )
    parser.add_argument(
        '--workers', type=int, help='processes that read images (default: 8)'
    )
    parser.add_argument(
        '--out',
        default='work_dirs/verify_published',
        metavar='DIR',
        help='folder of report.md, rows.csv and the logs (default: '
        '%(default)s); the same command again tests only what is not in '
        'rows.csv',
    )
    return parser.parse_args()


def main():
    args = parse_args()
    with command_line('verify_published.py'):
        result = verify(
            args.imagenet,
            args.files,
            args.variants,
            args.batch_size,
            args.workers,
            args.out,
        )
    print(result.report())
    print(f'written: {args.out}/report.md, rows.csv')
    if result.failed:
        sys.exit(1)


if __name__ == '__main__':
    main()
