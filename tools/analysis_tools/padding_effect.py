# Copyright (c) mmfft authors. All rights reserved.
"""Measure how much features and predictions change when an image is padded.

The images of the config's test are padded on the right and below, to sides
that are multiples of --divisor, and to a larger neighbour in the batch. The
features of each stage are compared for the config's backbone and for other
networks, and with a checkpoint also the objects of a detector or the labels
of a segmentor.
"""

from pathlib import Path

import torch

from mmfft.analysis.feature_models import SPEC_HELP
from mmfft.analysis.padding_effect import (
    feature_table,
    plot_padding_effect,
    prediction_table,
    run_padding_effect,
)
from mmfft.engine import command_line, config_parser, load_config

PEERS = ('convnext_tiny', 'swin_tiny_patch4_window7_224', 'convformer_s18')


def parse_args():
    parser = config_parser(__doc__)
    parser.add_argument(
        'checkpoint',
        nargs='?',
        help='checkpoint file; random weights by default',
    )
    parser.add_argument(
        '--peers',
        nargs='*',
        default=PEERS,
        help=f'other networks, each {SPEC_HELP}; by default '
        f'{", ".join(PEERS)}',
    )
    parser.add_argument(
        '--pretrained',
        action='store_true',
        help="download timm's weights for peers without a checkpoint",
    )
    parser.add_argument(
        '--count', type=int, default=8, help='number of images'
    )
    parser.add_argument(
        '--crop',
        type=int,
        nargs=2,
        metavar=('HEIGHT', 'WIDTH'),
        help='cut the images to their upper left part, for sides that are no '
        'multiples of --divisor',
    )
    parser.add_argument(
        '--divisor',
        type=int,
        default=32,
        help='padded sides are multiples of it, 32 by default',
    )
    parser.add_argument(
        '--neighbours',
        type=float,
        nargs='*',
        default=[1.5],
        help='sides of the largest image in the batch relative to those of '
        'the image, 1.5 by default',
    )
    parser.add_argument(
        '--score-thr',
        type=float,
        default=0.3,
        help='lowest score of an object that counts, 0.3 by default',
    )
    parser.add_argument(
        '--seed', type=int, default=0, help='seed of random weights'
    )
    parser.add_argument(
        '--device', default='cuda' if torch.cuda.is_available() else 'cpu'
    )
    parser.add_argument(
        '--out',
        default='work_dirs/padding_effect',
        help='folder of padding_effect.json, .md and .png',
    )
    return parser.parse_args()


def main():
    args = parse_args()
    with command_line('padding_effect.py'):
        cfg = load_config(args.config, args.out, args.cfg_options)
        results = run_padding_effect(
            cfg,
            args.checkpoint,
            args.peers,
            args.out,
            args.count,
            args.crop and tuple(args.crop),
            args.divisor,
            args.neighbours,
            args.score_thr,
            args.pretrained,
            args.seed,
            torch.device(args.device),
        )
    tables = [
        feature_table(results['features']),
        prediction_table(results['predictions']),
    ]
    text = '\n'.join(table for table in tables if table)
    out = Path(args.out)
    (out / 'padding_effect.md').write_text(text, encoding='utf-8')
    plot_padding_effect(results['features'], out / 'padding_effect.png')
    print(text)
    for row in results['features']:
        if 'refused' in row:
            print(
                f'{row["network"]}, {row["padding"]}: it does not take the '
                f'images: {row["refused"]}'
            )
    print(f'written: {out}/padding_effect.json, .md, .png')


if __name__ == '__main__':
    main()
