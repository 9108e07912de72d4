# Copyright (c) mmfft authors. All rights reserved.
"""Convert a published checkpoint to one of an mmpretrain classifier.

Backbones load published files directly; the converted file contains backbone
and head, and loads with ``strict=True``.
"""

import argparse
import pprint

from mmfft.engine import command_line
from mmfft.openmmlab.convert import convert_file


def parse_args():
    parser = argparse.ArgumentParser(
        description='Convert a published checkpoint of DFFormer, CDFFormer, '
        'GFFormer, GFNet or GFNet-H to one of an mmpretrain classifier.'
    )
    parser.add_argument('source', help='published checkpoint')
    parser.add_argument(
        'target',
        help='where to write the converted one, as safetensors if it ends so',
    )
    return parser.parse_args()


def main():
    args = parse_args()
    with command_line('published_to_mmfft.py'):
        config = convert_file(args.source, args.target)
        print(f'{args.target} holds the weights of')
        print('model = ' + pprint.pformat(config, sort_dicts=False))


if __name__ == '__main__':
    main()
