# Copyright (c) mmfft authors. All rights reserved.
"""Draw the samples of a data set as a model sees them, with annotations.

The same command for mmpretrain, mmdet and mmsegmentation.
"""

from mmfft.analysis.browse import browse
from mmfft.engine import command_line, config_parser, load_config


def parse_args():
    parser = config_parser(__doc__)
    parser.add_argument(
        '--phase',
        '-p',
        choices=('train', 'val', 'test'),
        default='train',
        help='the data set to draw, train by default',
    )
    parser.add_argument(
        '--output-dir',
        '-o',
        help='folder for the pictures; without it, they are shown in windows',
    )
    parser.add_argument(
        '--show-number',
        '-n',
        type=int,
        metavar='N',
        help='only the first N samples',
    )
    parser.add_argument(
        '--show-interval',
        '-i',
        type=float,
        default=2,
        help='seconds between windows, 2 by default',
    )
    return parser.parse_args()


def main():
    args = parse_args()
    with command_line('browse_dataset.py'):
        cfg = load_config(args.config, cfg_options=args.cfg_options)
        count = browse(
            cfg,
            args.phase,
            args.output_dir,
            args.show_number,
            args.show_interval,
        )
        where = f' into {args.output_dir}' if args.output_dir else ''
        print(f'{count} samples of {args.phase} drawn{where}')


if __name__ == '__main__':
    main()
