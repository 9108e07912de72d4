# Copyright (c) mmfft authors. All rights reserved.
"""Make the DigitScenes data set, in a few seconds and without a download."""

import argparse
import os
import sys
import time

from mmfft.datasets import DigitScenesConfig, make_digit_scenes
from mmfft.errors import ConfigError


def parse_args():
    default = DigitScenesConfig()
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        '--out-dir', default='data/digit_scenes', help='where to write it'
    )
    for name in ('train-scenes', 'val-scenes', 'train-crops', 'val-crops'):
        parser.add_argument(
            f'--{name}',
            type=int,
            default=getattr(default, name.replace('-', '_')),
            help='how many to make',
        )
    parser.add_argument(
        '--scene-size',
        type=int,
        nargs=2,
        metavar=('H', 'W'),
        action='append',
        # argparse would append to a default.
        default=argparse.SUPPRESS,
        help='height and width of a scene; give it several times for scenes '
        'of several sizes (default: {} {})'.format(*default.scene_size),
    )
    parser.add_argument(
        '--crop-size',
        type=int,
        default=default.crop_size,
        help='side of a crop',
    )
    parser.add_argument(
        '--seed', type=int, default=default.seed, help='seed of the pictures'
    )
    parser.add_argument(
        '--workers',
        type=int,
        default=os.cpu_count(),
        help='number of processes; the output does not depend on it',
    )
    parser.add_argument(
        '--overwrite',
        action='store_true',
        help='replace a DigitScenes data set at the same place',
    )
    return parser.parse_args()


def main():
    args = vars(parse_args())
    call = {key: args.pop(key) for key in ('out_dir', 'workers', 'overwrite')}
    start = time.perf_counter()
    try:
        made = make_digit_scenes(config=DigitScenesConfig(**args), **call)
    except (ConfigError, OSError, ImportError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('interrupted: nothing was written', file=sys.stderr)
        return 130
    if made['created']:
        print(f'made in {time.perf_counter() - start:.1f} s:')
    else:
        print('already there, nothing to do:')
    print(
        f'{call["out_dir"]} (version {made["version"]}, '
        f'sha256 {made["sha256"][:16]})'
    )
    for split, counts in made['counts'].items():
        print(
            f'  {split}: {counts["crops"]} crops, {counts["scenes"]} scenes '
            f'with {counts["instances"]} digits, '
            f'{counts["empty_scenes"]} of them empty'
        )
    return 0


if __name__ == '__main__':
    sys.exit(main())
