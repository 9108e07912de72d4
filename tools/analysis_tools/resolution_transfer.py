# Copyright (c) mmfft authors. All rights reserved.
"""Test a trained classifier at other image sizes, without fine-tuning.

Each way to bring its filters to another grid (`filter_resize`) is tested. With
several checkpoints of one config, such as those of several seeds, mean and
spread are reported.
"""

from pathlib import Path

from mmfft.analysis.resolution_transfer import (
    VIEWS,
    plot_transfer,
    run_transfer,
    summarize,
    summary_table,
)
from mmfft.engine import command_line, config_parser, load_config
from mmfft.ops.resize import FILTER_RESIZE_MODES


def parse_args():
    parser = config_parser(__doc__)
    parser.add_argument('checkpoint', nargs='+', help='checkpoint files')
    parser.add_argument(
        '--sizes',
        type=int,
        nargs='+',
        required=True,
        help='sides of the test images in pixels',
    )
    parser.add_argument(
        '--modes',
        nargs='+',
        choices=FILTER_RESIZE_MODES,
        help='ways to resize the filters, all by default',
    )
    parser.add_argument(
        '--img-size',
        type=int,
        help='side of the images of the config, for a backbone that does not '
        'have an img_size',
    )
    parser.add_argument(
        '--view',
        choices=VIEWS,
        default='enlarge',
        help='the same picture enlarged (default), or padded with grey',
    )
    parser.add_argument(
        '--out',
        default='work_dirs/resolution_transfer',
        help='folder of transfer.csv, table.md, transfer.png and the logs',
    )
    return parser.parse_args()


def main():
    args = parse_args()
    with command_line('resolution_transfer.py'):
        cfg = load_config(args.config, args.out, args.cfg_options)
        rows = run_transfer(
            cfg,
            args.checkpoint,
            args.sizes,
            args.modes,
            args.view,
            args.out,
            args.img_size,
        )
    summary = summarize(rows)
    table = summary_table(summary)
    out = Path(args.out)
    (out / 'table.md').write_text(table, encoding='utf-8')
    plot_transfer(summary, out / 'transfer.png')
    print(table)
    print(f'written: {out}/transfer.csv, table.md, transfer.png')


if __name__ == '__main__':
    main()
