# Copyright (c) mmfft authors. All rights reserved.
"""Reduce a checkpoint to what is given to others, with a hash in its name.

As publish_model.py of the toolboxes, which cannot read the log of a training
with PyTorch 2.6 and later.
"""

import argparse

from mmfft.checkpoints import publish
from mmfft.engine import command_line


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('in_file', help='checkpoint of a training')
    parser.add_argument(
        'out_file',
        help='file to write; OUT.pth becomes OUT-<hash>.pth, and '
        'OUT.safetensors OUT-<hash>.safetensors, in that format',
    )
    parser.add_argument(
        '--save-keys',
        nargs='+',
        default=['meta', 'state_dict'],
        help='entries that are kept; meta and state_dict by default',
    )
    parser.add_argument(
        '--no-ema',
        action='store_true',
        help='take the weights that were not averaged, if EMAHook was used',
    )
    return parser.parse_args()


def main():
    args = parse_args()
    with command_line('publish_model.py'):
        path = publish(
            args.in_file, args.out_file, args.save_keys, not args.no_ema
        )
        print(f'written: {path}')


if __name__ == '__main__':
    main()
