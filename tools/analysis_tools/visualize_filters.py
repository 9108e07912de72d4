# Copyright (c) mmfft authors. All rights reserved.
"""Draw the filters of a model: amplitude, phase and spatial kernel.

Zero frequency and the tap of no shift are in the middle. For dynamic layers
the basis is drawn and, with --image, the routing weights of the image and the
filters that are generated for it.
"""

from mmfft.engine import (
    build_model,
    command_line,
    config_parser,
    load_config,
)
from mmfft.visualization.filters import (
    draw_filters,
    read_filters,
    save_picture,
    see_image,
)


def parse_args():
    parser = config_parser(__doc__)
    parser.add_argument(
        'checkpoint',
        nargs='?',
        help='checkpoint file; without one, the initial filters are drawn',
    )
    parser.add_argument(
        '--layers',
        nargs='+',
        default=(),
        metavar='NAME',
        help='layers by name (backbone.stages.2.0.token_mixer), beginning of '
        "a name (backbone.stages.2) or pattern ('*' for all); by default "
        'four, evenly spaced through the depth',
    )
    parser.add_argument(
        '--channels',
        nargs='+',
        type=int,
        metavar='INDEX',
        help='channels to draw; by default six, evenly spaced',
    )
    parser.add_argument(
        '--image', help='image for which filters are generated'
    )
    parser.add_argument('--out', required=True, help='the .png file to write')
    return parser.parse_args()


def main():
    args = parse_args()
    with command_line('visualize_filters.py'):
        cfg = load_config(args.config, cfg_options=args.cfg_options)
        model = build_model(cfg, args.checkpoint)
        seen = see_image(model, cfg, args.image) if args.image else None
        layers = read_filters(model, args.layers, seen)
        picture = draw_filters(
            layers, args.channels or 6, seen.image if seen else None
        )
        save_picture(picture, args.out)
    for layer in layers:
        print(f'{layer.name}: {layer.kind}, grid {layer.grid}')
    print(f'picture in {args.out}')


if __name__ == '__main__':
    main()
