# Copyright (c) mmfft authors. All rights reserved.
"""Measure what valid sizes cost in a batch of images of several sizes.

    python -m benchmarks.valid_sizes --threads 1 --sizes 400x667 400x533

``padded`` is the batch padded to a multiple of 32, as a whole; ``valid sizes``
is each image of it at its own size. Training is forward and backward.
"""

import sys
from functools import partial

import torch

from benchmarks.common import Recorder, run_parser, size_of, text_of
from mmfft.models import CDFFormer, DFFormer, GFNetPyramid

BACKBONES = {'s18': (DFFormer, CDFFormer), 'h-ti': (GFNetPyramid,)}


class Case:
    """A backbone and a padded batch, in inference or training."""

    def __init__(self, build, sizes, train, device):
        torch.manual_seed(0)
        self.sizes, self.train = sizes, train
        whole = [-(-max(sides) // 32) * 32 for sides in zip(*sizes)]
        self.model = build(img_size=tuple(whole)).to(device).train(train)
        self.x = torch.zeros(len(sizes), 3, *whole, device=device)
        for image, (rows, columns) in zip(self.x, sizes):
            image[:, :rows, :columns].normal_()

    def contenders(self):
        """Functions that prepare the call of each way."""
        ways = {'padded': None, 'valid sizes': self.sizes}
        return {
            name: lambda sizes=sizes: [partial(self._run, sizes)]
            for name, sizes in ways.items()
        }

    def _run(self, sizes):
        with torch.set_grad_enabled(self.train):
            outs = self.model(self.x, valid_sizes=sizes)
        if self.train:
            leaves = list(self.model.parameters())
            torch.autograd.grad(sum(out.sum() for out in outs), leaves)


def main(argv=None):
    p = run_parser(__doc__.splitlines()[0])
    p.add_argument(
        '--sizes',
        nargs='+',
        type=size_of,
        default=[(400, 667), (400, 533)],
        help='sizes of the images of the batch',
    )
    p.add_argument('--rounds', type=int, default=9, help='measurements')
    args = p.parse_args(argv)
    recorder = Recorder('valid_sizes', args, argv)
    for arch, backbones in BACKBONES.items():
        for backbone in backbones:
            for mode in ('infer', 'train'):
                case = Case(
                    partial(backbone, arch),
                    args.sizes,
                    mode == 'train',
                    recorder.device,
                )
                recorder.compare(
                    dict(
                        mode=mode,
                        backbone=backbone.__name__,
                        images=' '.join(map(text_of, args.sizes)),
                    ),
                    case.contenders(),
                    baseline=lambda name: 'padded',
                )
    return recorder.finish()


if __name__ == '__main__':
    sys.exit(main())
