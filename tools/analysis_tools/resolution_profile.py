# Copyright (c) mmfft authors. All rights reserved.
"""Measure throughput and peak memory of backbones against the image size.

When run again, it measures only what is missing.
"""

import argparse
from pathlib import Path

import torch

from mmfft.analysis.feature_models import SPEC_HELP
from mmfft.analysis.resolution_profile import plot_profile, run_profile
from mmfft.engine import command_line

MODELS = (
    'dfformer_s18',
    'cdfformer_s18',
    'gfnet_h_ti',
    'caformer_s18',
    'convformer_s18',
)


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('--models', nargs='+', default=MODELS, help=SPEC_HELP)
    parser.add_argument(
        '--sizes', type=int, nargs='+', default=[224, 384, 512, 768, 1024]
    )
    parser.add_argument('--batch', type=int, default=1)
    parser.add_argument(
        '--train', action='store_true', help='measure forward and backward'
    )
    parser.add_argument(
        '--device', default='cuda' if torch.cuda.is_available() else 'cpu'
    )
    parser.add_argument(
        '--threads', type=int, help='number of threads on a CPU'
    )
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument(
        '--out',
        default='work_dirs/resolution_profile',
        help='folder of profile.csv and profile.png',
    )
    return parser.parse_args()


def main():
    args = parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    with command_line('resolution_profile.py'):
        rows = run_profile(
            args.models,
            args.sizes,
            args.out,
            args.batch,
            args.train,
            torch.device(args.device),
            args.rounds,
        )
    for row in rows:
        speed, memory = row['images_per_second'], row['memory']
        print(
            f'{row["model"]} at {row["size"]}: '
            + (
                f'{speed:.2f} images/s, {memory / 2**20:.0f} MiB'
                if speed
                else 'out of memory'
            )
        )
    out = Path(args.out)
    plot_profile(rows, out / 'profile.png')
    print(f'written: {out}/profile.csv, profile.png')


if __name__ == '__main__':
    main()
