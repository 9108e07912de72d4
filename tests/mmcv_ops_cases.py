# Copyright (c) mmfft authors. All rights reserved.
"""Inputs for mmcv's operators, and the recorded outputs of compiled ones.

To record the outputs again, run ``python tests/mmcv_ops_cases.py`` in an
environment with compiled operators.
"""

import itertools
from pathlib import Path

import numpy as np
import torch

RECORD = Path(__file__).parent / 'data' / 'mmcv_ops' / 'outputs.npz'


def make_boxes(draw, count, size=160, least=0.0):
    corner = draw.rand(count, 2) * size
    extent = least + draw.rand(count, 2) * 50
    boxes = np.concatenate([corner, corner + extent], 1)
    return torch.from_numpy(boxes.astype(np.float32))


def make_scores(draw, count):
    # Multiples of an eighth, many of which are equal.
    return torch.from_numpy((draw.randint(1, 9, count) / 8).astype('float32'))


def as_float(draw, *shape, dtype=torch.float32):
    return torch.from_numpy(draw.randn(*shape)).to(dtype)


def suppression(draw):
    from mmcv.ops import batched_nms, nms, nms_match, soft_nms

    for count, offset in itertools.product((1, 60), (0, 1)):
        boxes, scores = make_boxes(draw, count), make_scores(draw, count)
        for threshold in (0.1, 0.5, 0.7):
            yield from nms(boxes, scores, threshold, offset)
            for method in ('naive', 'linear', 'gaussian'):
                yield from soft_nms(
                    boxes, scores, threshold, 0.5, 0.05, method, offset
                )
            match = nms_match(torch.cat([boxes, scores[:, None]], 1), 0.3)
            yield torch.tensor([len(group) for group in match])
            yield torch.cat(match)
        classes = torch.from_numpy(draw.randint(0, 3, count))
        config = dict(type='nms', iou_threshold=0.5)
        yield from batched_nms(boxes, scores, classes, config)


def overlaps(draw):
    from mmcv.ops import bbox_overlaps

    first, second = make_boxes(draw, 9), make_boxes(draw, 9)
    for mode, aligned, offset in itertools.product(
        ('iou', 'iof'), (False, True), (0, 1)
    ):
        yield bbox_overlaps(first, second, mode, aligned, offset)


def rois(draw):
    from mmcv.ops import roi_align

    for dtype, aligned, ratio in itertools.product(
        (torch.float16, torch.float32, torch.float64), (False, True), range(4)
    ):
        maps = as_float(draw, 2, 3, 11, 14, dtype=dtype).requires_grad_()
        boxes = make_boxes(draw, 6)
        boxes[2, 2:] = boxes[2, :2]  # an empty box
        images = torch.from_numpy(draw.randint(0, 2, (6, 1)))
        regions = torch.cat([images, boxes], 1).to(dtype)
        output = roi_align(
            maps, regions, (3, 2), 1 / 16, ratio, 'avg', aligned
        )
        grad = as_float(draw, *output.shape, dtype=dtype)
        yield output
        yield from torch.autograd.grad(output, maps, grad)


def deformable(draw):
    from mmcv.ops import deform_conv2d, modulated_deform_conv2d

    cases = [
        (1, 1, 1, 1, 1, (3, 3)),
        (2, 0, 2, 2, 2, (3, 3)),
        ((1, 2), (0, 1), 1, 4, 1, (1, 2)),
    ]
    for stride, padding, dilation, groups, shared, kernel in cases:
        maps = as_float(draw, 2, 8, 7, 9)
        weight = as_float(draw, 4, 8 // groups, *kernel)
        settings = (stride, padding, dilation, groups)
        height, width = torch.nn.functional.conv2d(
            maps, weight, None, *settings
        ).shape[2:]
        taps = shared * kernel[0] * kernel[1]
        offset = as_float(draw, 2, 2 * taps, height, width)
        mask = as_float(draw, 2, taps, height, width)
        bias = as_float(draw, 4)
        for function, inputs in (
            (deform_conv2d, [maps, offset, weight]),
            (modulated_deform_conv2d, [maps, offset, mask, weight, bias]),
        ):
            inputs = [tensor.clone().requires_grad_() for tensor in inputs]
            output = function(*inputs, *settings, shared)
            grad = as_float(draw, *output.shape)
            yield output
            yield from torch.autograd.grad(output, inputs, grad)


CASES = [suppression, overlaps, rois, deformable]


def answers(case):
    """Compute the outputs of the operators in use, as arrays."""
    seed = sum(map(ord, case.__name__))
    return [
        output.detach().numpy() for output in case(np.random.RandomState(seed))
    ]


def record():
    from mmfft.mmcv_ops import describe

    assert describe().startswith('compiled'), describe()
    RECORD.parent.mkdir(exist_ok=True)
    np.savez_compressed(
        RECORD,
        **{
            f'{case.__name__}_{i}': output
            for case in CASES
            for i, output in enumerate(answers(case))
        },
    )
    print(f'{RECORD}: {describe()}, torch {torch.__version__}')


if __name__ == '__main__':
    record()
