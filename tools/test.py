# Copyright (c) mmfft authors. All rights reserved.
"""Test a classifier, a detector or a segmentor from a config."""

import argparse
import os

from mmengine.config import DictAction
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmfft.engine import (
    apply_test_options,
    check_data,
    dump_metrics,
    load_config,
    print_config_errors,
)


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='test config file path')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument(
        '--work-dir', help='the dir to save the evaluation metrics'
    )
    parser.add_argument(
        '--out',
        nargs='+',
        default=[],
        help='dump results: metrics into a .json file, predictions into a '
        '.pkl file, or both',
    )
    parser.add_argument(
        '--show', action='store_true', help='show prediction results'
    )
    parser.add_argument(
        '--show-dir', help='the dir to save pictures of the predictions'
    )
    parser.add_argument(
        '--wait-time', type=float, default=2, help='the interval of show (s)'
    )
    parser.add_argument(
        '--tta', action='store_true', help='test-time augmentation'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of the config, key-value pairs as in '
        'xxx=yyy; a list as key="[a,b]" or key=a,b, nested ones as '
        'key="[(a,b),(c,d)]", quoted and without white space',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='job launcher',
    )
    # torch.distributed.launch passes it; torchrun sets the variable instead.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    args = parser.parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def main():
    args = parse_args()
    with print_config_errors('test.py'):
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
        )
        check_data(cfg, 'test')
        if 'runner_type' in cfg:
            runner = RUNNERS.build(cfg)
        else:
            runner = Runner.from_cfg(cfg)
        dump_metrics(runner.test(), args.out)


if __name__ == '__main__':
    main()
