# Copyright (c) mmfft authors. All rights reserved.
"""Draw which classes a model takes for which.

The same command for mmpretrain, mmdet and mmsegmentation. The predictions are
those of tools/test.py CONFIG CHECKPOINT --out FILE.pkl.
"""

from mmfft.analysis.confusion_matrix import (
    confusion_matrix,
    save_confusion_matrix,
)
from mmfft.engine import command_line, config_parser, load_config


def parse_args():
    parser = config_parser(__doc__)
    parser.add_argument('predictions', help='the .pkl file of the test')
    parser.add_argument(
        'save_dir', help='folder for confusion_matrix.png and .json'
    )
    parser.add_argument(
        '--score-thr',
        type=float,
        default=0.3,
        help='lowest score of a box that counts, 0.3 by default',
    )
    parser.add_argument(
        '--tp-iou-thr',
        type=float,
        default=0.5,
        help='lowest IoU of a box with the true one, 0.5 by default',
    )
    return parser.parse_args()


def main():
    args = parse_args()
    with command_line('confusion_matrix.py'):
        cfg = load_config(args.config, cfg_options=args.cfg_options)
        counts, names = confusion_matrix(
            cfg, args.predictions, args.score_thr, args.tp_iou_thr
        )
        save_confusion_matrix(counts, names, args.save_dir)
    right = counts.diagonal().sum()
    print(
        f'{right} of {counts.sum()} are right; written to '
        f'{args.save_dir}/confusion_matrix.png'
    )


if __name__ == '__main__':
    main()
