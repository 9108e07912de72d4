# Copyright (c) mmfft authors. All rights reserved.
"""Export a classifier, a segmentor or a detector to ONNX and check the file.

The exit status is 1 if onnxruntime's outputs differ from PyTorch's by more
than the tolerance.
"""

import sys
from pathlib import Path

import numpy as np

from mmfft.deploy import (
    benchmark,
    check_shapes,
    compare,
    export,
    load_network,
    open_parts,
    open_session,
)
from mmfft.engine import command_line, config_parser, load_config


def parse_args():
    parser = config_parser(__doc__)
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--out', required=True, help='the .onnx file to write')
    parser.add_argument(
        '--shape',
        nargs=2,
        type=int,
        metavar=('H', 'W'),
        help="image size; the backbone's img_size by default",
    )
    parser.add_argument(
        '--dynamic',
        action='store_true',
        help='accept any batch, height and width, not only one image of one '
        'size',
    )
    parser.add_argument(
        '--opset',
        type=int,
        default=17,
        help='version of the operators, 17 (default) to 20',
    )
    parser.add_argument(
        '--half',
        action='store_true',
        help='float16 weights; image, outputs and the Fourier transforms stay '
        'float32',
    )
    parser.add_argument(
        '--tolerance',
        type=float,
        help='largest accepted relative difference to PyTorch, 1e-4 by '
        'default, 2e-2 with --half',
    )
    return parser.parse_args()


def main():
    args = parse_args()
    tolerance = args.tolerance
    if tolerance is None:
        tolerance = 2e-2 if args.half else 1e-4
    with command_line('export_onnx.py'):
        cfg = load_config(args.config, cfg_options=args.cfg_options)
        network = load_network(cfg, args.checkpoint)
        size = tuple(args.shape or network.img_size)
        print(f'exporting at {size[0]}x{size[1]}', flush=True)
        model = export(
            network, args.out, size, args.dynamic, args.opset, args.half
        )
    print(
        f'{args.out}: {Path(args.out).stat().st_size / 1e6:.1f} MB, opset '
        f'{args.opset}, {len(model.graph.node)} nodes, outputs '
        + ', '.join(output.name for output in model.graph.output)
    )
    for key in ('features_because', 'unknown_steps'):
        if key in network.metadata:
            print(
                f'export_onnx.py: warning: predict_onnx.py will refuse the '
                f'file: {network.metadata[key]}',
                file=sys.stderr,
            )
    parts = open_parts(args.out, network)
    errors = []
    for shape in check_shapes(size, args.dynamic):
        differences = [compare(*part, shape) for part in parts]
        # NumPy's maximum propagates NaN, Python's may not.
        errors.append(float(np.max(differences)))
        batch, height, width = shape
        print(
            f'{batch} of {height}x{width}: relative difference to PyTorch '
            f'{errors[-1]:.1e}',
            flush=True,
        )
    session = open_session(args.out)
    eager, runtime = benchmark(session, network, (1, *size))
    print(
        f'1 of {size[0]}x{size[1]}: PyTorch {eager * 1e3:.1f} ms, onnxruntime '
        f'{runtime * 1e3:.1f} ms, {eager / runtime:.2f} times as fast'
    )
    # Written so that NaN does not pass.
    if not all(error <= tolerance for error in errors):
        print(
            f'export_onnx.py: error: the difference is above the tolerance '
            f'of {tolerance:g}',
            file=sys.stderr,
        )
        sys.exit(1)
    print(f'largest difference {max(errors):.1e}, tolerance {tolerance:g}: ok')


if __name__ == '__main__':
    main()
