# Copyright (c) mmfft authors. All rights reserved.
"""Quantize a file of export_onnx.py to 8-bit integers.

It is calibrated on training data of the config, prepared as in its test.
Measure the metric of the result with test_onnx.py.
"""

from argparse import BooleanOptionalAction

from mmfft.deploy.quantization import DEFAULT_KINDS, KINDS, METHODS, quantize
from mmfft.engine import command_line, config_parser, load_config


def parse_args():
    parser = config_parser(__doc__)
    parser.add_argument('model', help='file of export_onnx.py, in float32')
    parser.add_argument('--out', required=True, help='the .onnx file to write')
    parser.add_argument(
        '--images',
        type=int,
        default=64,
        metavar='N',
        help='number of training images of the calibration (default: '
        '%(default)s)',
    )
    parser.add_argument(
        '--method',
        default='minmax',
        help=f'how ranges are chosen, one of {", ".join(METHODS)} (default: '
        '%(default)s)',
    )
    parser.add_argument(
        '--kinds',
        nargs='+',
        default=DEFAULT_KINDS,
        metavar='KIND',
        help=f'kinds of operators, of {", ".join(KINDS)} (default: '
        f'{" ".join(DEFAULT_KINDS)})',
    )
    parser.add_argument(
        '--exclude',
        nargs='+',
        default=[],
        metavar='NODE',
        help="operators that stay in float32, as patterns ('/model/head/*')",
    )
    parser.add_argument(
        '--per-channel',
        action=BooleanOptionalAction,
        default=False,
        help='one scale for each output channel of a weight',
    )
    return parser.parse_args()


def main():
    args = parse_args()
    with command_line('quantize_onnx.py'):
        cfg = load_config(args.config, cfg_options=args.cfg_options)
        done = quantize(
            cfg,
            args.model,
            args.out,
            args.images,
            args.method,
            args.kinds,
            args.exclude,
            args.per_channel,
        )
    before, after = (size / 1e6 for size in done.bytes)
    slow, fast = (1e3 * seconds for seconds in done.seconds)
    count, total = done.operators
    print(f'{args.out}: calibrated on {done.images} images')
    print(f'operators on 8-bit integers: {count} of {total}')
    print(f'{before:.2f} MB -> {after:.2f} MB')
    print(f'{slow:.1f} ms -> {fast:.1f} ms for an image')
    print(done.change)


if __name__ == '__main__':
    main()
