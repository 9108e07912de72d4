# Copyright (c) mmfft authors. All rights reserved.
"""Predict for pictures with a file of export_onnx.py, and draw what is found.

It needs onnxruntime or OpenVINO, numpy and Pillow, neither PyTorch nor
OpenMMLab. A line for each picture is printed: the most likely classes, the
number of objects of each class, or the share of pixels of each class.
"""

import argparse
import sys

from mmfft.errors import ConfigError
from mmfft.runtime.engines import RUNTIMES
from mmfft.runtime.files import predict_files
from mmfft.runtime.onnx_model import OnnxModel


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('model', help='file of export_onnx.py')
    parser.add_argument('images', nargs='+', metavar='image')
    parser.add_argument(
        '--out-dir',
        metavar='DIR',
        help='folder in which to draw each picture, under its name; without '
        'it, nothing is drawn',
    )
    parser.add_argument(
        '--score-thr',
        type=float,
        default=0.3,
        metavar='S',
        help='lowest score of an object that is counted and drawn (default: '
        '%(default)s)',
    )
    parser.add_argument(
        '--runtime',
        choices=RUNTIMES,
        default='onnxruntime',
        help='package that runs the file (default: %(default)s)',
    )
    # An option may stand between the images.
    return parser.parse_intermixed_args()


def main():
    args = parse_args()
    try:
        model = OnnxModel(args.model, args.runtime)
        for line in predict_files(
            model, args.images, args.out_dir, args.score_thr
        ):
            print(line, flush=True)
    except ConfigError as error:
        print(f'predict_onnx.py: error: {error}', file=sys.stderr)
        sys.exit(2)


if __name__ == '__main__':
    main()
