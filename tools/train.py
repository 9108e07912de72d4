# Copyright (c) mmfft authors. All rights reserved.
"""Train a classifier, a detector or a segmentor from a config."""

from mmfft.datasets.check import check_before_run
from mmfft.datasets.paths import check_data
from mmfft.engine import (
    apply_train_options,
    build_runner,
    check_agreement,
    command_line,
    load_config,
    run_parser,
)


def parse_args():
    parser = run_parser(__doc__)
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        help='resume from this checkpoint, or without a value from the '
        'latest one in the work directory; if there is none, start, with '
        "the config's load_from",
    )
    parser.add_argument(
        '--amp',
        action='store_true',
        help='train with automatic mixed precision',
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate to the actual batch size',
    )
    parser.add_argument(
        '--no-validate',
        action='store_true',
        help='do not validate during training',
    )
    parser.add_argument(
        '--tensorboard',
        action='store_true',
        help='also write the curves for TensorBoard, into the work directory',
    )
    return parser.parse_args()


def main():
    args = parse_args()
    with command_line('train.py'):
        cfg = load_config(
            args.config, args.work_dir, args.cfg_options, args.launcher
        )
        apply_train_options(
            cfg,
            args.resume,
            args.amp,
            args.auto_scale_lr,
            args.no_validate,
            args.tensorboard,
        )
        check_data(cfg, 'train', 'val')
        check_agreement(cfg)
        runner = build_runner(cfg)
        if not args.skip_data_check:
            check_before_run(cfg, runner.logger, 'train', 'val')
        runner.train()


if __name__ == '__main__':
    main()
