# Copyright (c) mmfft authors. All rights reserved.
"""Test a classifier, a detector or a segmentor from a config."""

from mmfft.datasets.check import check_before_run
from mmfft.datasets.paths import check_data
from mmfft.engine import (
    apply_test_options,
    build_runner,
    command_line,
    dump_metrics,
    load_config,
    run_parser,
)


def parse_args():
    parser = run_parser(__doc__)
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument(
        '--allow-missing',
        action='store_true',
        help='test although the checkpoint lacks tensors of the model, which '
        'keep random numbers',
    )
    parser.add_argument(
        '--out',
        nargs='+',
        default=[],
        help='files for results: .json for metrics, .pkl for predictions, or '
        'both',
    )
    parser.add_argument(
        '--show',
        action='store_true',
        help='show predictions in a window, which needs a display',
    )
    parser.add_argument(
        '--show-dir',
        help='folder for pictures of the predictions, one for each image of '
        'the test and with its name',
    )
    parser.add_argument(
        '--show-num',
        type=int,
        metavar='N',
        help='show or draw only the first N images of the test',
    )
    parser.add_argument(
        '--wait-time', type=float, default=2, help='seconds between windows'
    )
    parser.add_argument(
        '--tta', action='store_true', help='test-time augmentation'
    )
    return parser.parse_args()


def main():
    args = parse_args()
    with command_line('test.py'):
        cfg = load_config(
            args.config, args.work_dir, args.cfg_options, args.launcher
        )
        apply_test_options(
            cfg,
            args.checkpoint,
            args.out,
            args.show,
            args.show_dir,
            args.wait_time,
            args.tta,
            args.allow_missing,
            args.show_num,
        )
        check_data(cfg, 'test')
        runner = build_runner(cfg, dump_suffix='_test')
        if not args.skip_data_check:
            check_before_run(cfg, runner.logger, 'test')
        dump_metrics(runner.test(), args.out)


if __name__ == '__main__':
    main()
