# Copyright (c) mmfft authors. All rights reserved.
"""Compare the light operators of mmcv with its compiled ones.

    make install OPS=compiled VENV=.venv-compiled
    .venv-compiled/bin/python -m benchmarks.mmcv_ops --threads 1

The operators are NMS and its variants on random boxes, and RoIAlign on one
level of a feature pyramid, with its gradient if ``--mode`` contains ``train``.
Without compiled operators, only the light ones are measured.
"""

import importlib
import sys
from functools import partial
from itertools import product

import torch

from benchmarks.common import Recorder, parser
from mmfft.mmcv_ops import describe, ext

ONLY_BOXES = ('nms', 'soft_nms linear', 'soft_nms gaussian', 'nms_match')


def random_boxes(count, device):
    corner = 600 * torch.rand(count, 2, device=device)
    return torch.cat([corner, corner + 60 * torch.rand_like(corner)], 1)


def calls_of(ops, op, count, device, train):
    torch.manual_seed(0)
    boxes, scores = random_boxes(count, device), torch.rand(count).to(device)
    if op == 'nms':
        return [lambda: ops.nms(boxes, scores, 0.5, 0)]
    if op == 'nms_match':
        dets = torch.cat([boxes, scores[:, None]], 1)
        return [lambda: ops.nms_match(dets, 0.5)]
    if op.startswith('soft_nms'):
        method = 2 if op.endswith('gaussian') else 1
        dets = boxes.new_empty(count, 5)
        return [
            lambda: ops.softnms(boxes, scores, dets, 0.3, 0.5, 1e-3, method, 0)
        ]
    maps = torch.randn(1, 256, 80, 80, device=device)
    rois = torch.cat([boxes.new_zeros(count, 1), boxes], 1)
    output = maps.new_zeros(count, 256, 7, 7)
    unused, options = maps.new_zeros(0), (7, 7, 1 / 8, 0, 1, True)

    def roi_align():
        ops.roi_align_forward(maps, rois, output, unused, unused, *options)
        if train:
            grad = torch.zeros_like(maps)
            ops.roi_align_backward(
                output, rois, unused, unused, grad, *options
            )

    return [roi_align]


def main(argv=None):
    p = parser(__doc__.splitlines()[0])
    p.add_argument('--boxes', nargs='+', type=int, default=[300, 1000, 2000])
    args = p.parse_args(argv)
    recorder = Recorder('mmcv_ops', args, argv)
    modules = dict(light=ext)
    if describe().startswith('compiled'):
        modules['compiled'] = importlib.import_module('mmcv._ext')
    else:
        print(f'only light operators, since those in use are {describe()}')
    for mode, op, count in product(
        args.mode, (*ONLY_BOXES, 'roi_align'), args.boxes
    ):
        if mode == 'train' and op in ONLY_BOXES:
            continue
        contenders = {
            name: partial(
                calls_of, ops, op, count, recorder.device, mode == 'train'
            )
            for name, ops in modules.items()
        }
        recorder.compare(
            dict(mode=mode, op=op, boxes=count),
            contenders,
            baseline=lambda name: 'compiled',
        )
    return recorder.finish()


if __name__ == '__main__':
    sys.exit(main())
