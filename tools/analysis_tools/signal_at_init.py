# Copyright (c) mmfft authors. All rights reserved.
"""Compare the sizes of signals and gradients before a training.

For each block of our backbones: how large a branch is beside its shortcut,
how large its gradient is beside its weights, and how much of the features
differs between images. The images are those of a folder or, if none is given,
Gaussian noise.
"""

import argparse
from pathlib import Path

from mmfft.analysis.feature_models import SPEC_HELP
from mmfft.analysis.signal_at_init import (
    plot_starts,
    run_starts,
    starts_table,
)
from mmfft.engine import command_line


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'models', nargs='+', help=f'only with backbones of ours: {SPEC_HELP}'
    )
    parser.add_argument(
        '--init',
        nargs='+',
        default=[None],
        help='values of the argument init of the backbones, each of which is '
        'measured; by default what the config says',
    )
    parser.add_argument('--images', help='a folder of images')
    parser.add_argument('--size', type=int, default=224, help='side in pixels')
    parser.add_argument(
        '--count', type=int, default=32, help='number of images'
    )
    parser.add_argument(
        '--seeds',
        type=int,
        nargs='+',
        default=[0, 1, 2],
        help='seeds of the weights',
    )
    parser.add_argument(
        '--out',
        default='work_dirs/signal_at_init',
        help='folder of signal_at_init.csv, .md and .png',
    )
    return parser.parse_args()


def main():
    args = parse_args()
    with command_line('signal_at_init.py'):
        rows = run_starts(
            args.models,
            args.out,
            args.init,
            args.seeds,
            args.size,
            args.count,
            args.images,
        )
    table = starts_table(rows)
    out = Path(args.out)
    (out / 'signal_at_init.md').write_text(table, encoding='utf-8')
    plot_starts(rows, out / 'signal_at_init.png')
    print(table)
    print(f'written: {out}/signal_at_init.csv, .md, .png')


if __name__ == '__main__':
    main()
