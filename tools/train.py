# Copyright (c) mmfft authors. All rights reserved.
"""Train a classifier, a detector or a segmentor from a config."""

import argparse
import os

from mmengine.config import DictAction
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmfft.engine import (
    apply_train_options,
    check_data,
    load_config,
    print_config_errors,
)


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='train config file path')
    parser.add_argument('--work-dir', help='the dir to save logs and models')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        help='resume from this checkpoint, or without a value from the '
        'latest one in the work directory',
    )
    parser.add_argument(
        '--amp',
        action='store_true',
        help='enable automatic-mixed-precision training',
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate to the actual batch size',
    )
    parser.add_argument(
        '--no-validate',
        action='store_true',
        help='do not evaluate during training',
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
    with print_config_errors('train.py'):
        cfg = load_config(
            args.config, args.work_dir, args.cfg_options, args.launcher
        )
        apply_train_options(
            cfg, args.resume, args.amp, args.auto_scale_lr, args.no_validate
        )
        check_data(cfg, 'train', 'val')
        if 'runner_type' in cfg:
            runner = RUNNERS.build(cfg)
        else:
            runner = Runner.from_cfg(cfg)
        runner.train()


if __name__ == '__main__':
    main()
