# Copyright (c) mmfft authors. All rights reserved.
"""Count parameters and FLOPs of a config's model, with Fourier transforms.

Prints a table by module. A multiplication with an addition counts as one FLOP,
and so does each operation of a transform. To compare with the figures of other
papers, count in their convention.
"""

from mmengine.fileio import dump

from mmfft.analysis.flops import CONVENTIONS, config_flops
from mmfft.engine import command_line, config_parser, load_config


def parse_args():
    parser = config_parser(__doc__)
    parser.add_argument(
        '--shape',
        type=int,
        nargs='+',
        metavar=('H', 'W'),
        help='input image size, one number for a square; by default the size '
        'for which the backbone stores its filters',
    )
    parser.add_argument(
        '--depth',
        type=int,
        default=3,
        help='levels of modules in the table; 5 levels show the token mixers',
    )
    parser.add_argument(
        '--convention',
        choices=CONVENTIONS,
        default='mmfft',
        help='what is counted: everything (mmfft), everything but the product '
        "with the filter, with transforms as in the script of GFNet's "
        'authors (gfnet), or linear layers and convolutions only (linear); '
        '%(default)s by default',
    )
    parser.add_argument('--out', help='the .json file to write')
    return parser.parse_args()


def main():
    args = parse_args()
    with command_line('get_flops.py'):
        cfg = load_config(args.config, cfg_options=args.cfg_options)
        size, found = config_flops(
            cfg, args.shape, args.depth, args.convention
        )
    print(found.table)
    print(f'Input shape: {size[0]}x{size[1]}')
    print(f'Convention: {args.convention}')
    print(f'Flops: {found.flops / 1e9:.3f} G, of them')
    for name, flops in sorted(found.by_operator.items(), key=lambda x: -x[1]):
        print(f'  {flops / 1e9:9.3f} G  {name}')
    print(f'Params: {found.params / 1e6:.3f} M')
    if args.out:
        dump(
            dict(
                convention=args.convention,
                shape=size,
                flops=found.flops,
                params=found.params,
                by_operator=found.by_operator,
            ),
            args.out,
            indent=2,
        )


if __name__ == '__main__':
    main()
