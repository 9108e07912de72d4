# Copyright (c) mmfft authors. All rights reserved.
"""Write a classifier as a folder that timm reads, with a model card.

timm.create_model('local-dir:FOLDER', pretrained=True) gives the model.
Nothing is uploaded: docs/how_to/checkpoints.md says how.
"""

import argparse

from mmfft.deploy.timm_hub import write_hub_folder
from mmfft.engine import command_line, load_config


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'checkpoint',
        help='checkpoint of an mmpretrain classifier of ours, or mmfft://NAME',
    )
    parser.add_argument(
        '--model', required=True, help='name in timm, such as cdfformer_s18'
    )
    parser.add_argument(
        '--out', required=True, help='folder to write; must not exist'
    )
    parser.add_argument(
        '--config',
        help='config of the checkpoint, for the preparation of images, the '
        'names of classes, filter_resize and boundary; by default as for the '
        'published weights',
    )
    parser.add_argument(
        '--license',
        help="licence of the weights, in the hub's words, such as "
        'apache-2.0; by default that of the published weights for '
        'mmfft://NAME, unknown for others',
    )
    return parser.parse_args()


def main():
    args = parse_args()
    with command_line('publish_to_hub.py'):
        cfg = load_config(args.config) if args.config else None
        described = write_hub_folder(
            args.checkpoint, args.model, args.out, cfg, args.license
        )
        print(f'written: {args.out}')
        for key in ('num_classes', 'license', 'input_size', 'crop_pct'):
            print(f'{key}: {described[key]}')
        for key in ('mean', 'std'):
            print(f'{key}: {tuple(round(v, 4) for v in described[key])}')


if __name__ == '__main__':
    main()
