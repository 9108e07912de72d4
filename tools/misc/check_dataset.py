# Copyright (c) mmfft authors. All rights reserved.
"""Check all images and labels of a config before a long run.

Lists missing files, unreadable images, labels that are empty or out of range,
boxes that are wrong or will be dropped, broken annotations, metrics that
cannot be computed, and splits with other classes, and says what to change.
Then checks that the config agrees with itself, and tries one training step and
one validation step on a few samples. The exit status is 1 if anything was
found.
"""

import os
import sys

from mmengine.fileio import dump

from mmfft.datasets.check import Problem, check_dataset, show_problems
from mmfft.engine import (
    check_config,
    command_line,
    config_parser,
    load_config,
)


def parse_args():
    parser = config_parser(__doc__)
    parser.add_argument(
        '--nproc',
        type=int,
        default=os.cpu_count(),
        help='number of processes that read, by default one per CPU core',
    )
    parser.add_argument(
        '--out', help='the .json file to write all problems to'
    )
    parser.add_argument(
        '--no-trial',
        action='store_true',
        help='do not try a training step and a validation step',
    )
    return parser.parse_args()


def main():
    args = parse_args()
    with command_line('check_dataset.py'):
        cfg = load_config(args.config, cfg_options=args.cfg_options)
        images, problems = check_dataset(cfg, args.nproc)
        for where, what in check_config(cfg, not args.no_trial):
            problems.append(Problem('config', where, what, 'config'))
    show_problems(images, problems)
    if not problems:
        print('no problem found')
    if args.out:
        dump([problem._asdict() for problem in problems], args.out, indent=2)
    sys.exit(1 if problems else 0)


if __name__ == '__main__':
    main()
