# Copyright (c) mmfft authors. All rights reserved.
"""Compare the shape bias of models in a plot.

Reads the decisions that mmpretrain's ShapeBiasMetric writes when a model is
tested with configs/robustness/cue-conflict.py.
"""

import argparse
from pathlib import Path

from mmengine.fileio import dump

from mmfft.analysis.shape_bias import draw_shape_bias, read_decisions
from mmfft.engine import command_line
from mmfft.errors import ConfigError


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'csv_dir', help='folder of .csv files, such as work_dirs/shape_bias'
    )
    parser.add_argument('--out', required=True, help='the .png file to write')
    parser.add_argument(
        '--json', help='the .json file to write the numbers to'
    )
    return parser.parse_args()


def main():
    args = parse_args()
    with command_line('shape_bias.py'):
        files = sorted(Path(args.csv_dir).glob('*.csv'))
        if not files:
            raise ConfigError(f'there is no .csv file in {args.csv_dir!r}')
        results = [read_decisions(file) for file in files]
    for one in results:
        bias = one.of()
        text = 'none' if bias is None else f'{100 * bias:.1f} %'
        print(f'{one.model}: shape bias {text} on {one.images} images')
    draw_shape_bias(results, args.out)
    print(f'picture in {args.out}')
    if args.json:
        numbers = {one.model: one.summary() for one in results}
        dump(numbers, args.json, indent=2)


if __name__ == '__main__':
    main()
