# Copyright (c) mmfft authors. All rights reserved.
"""Train the paper's ablations in miniature and compare them.

Static against dynamic filters, the number of basis filters, the width of the
routing, activations, AFNO and GFNet, each with several seeds. When run again,
it trains only what is missing.
"""

from pathlib import Path

from mmfft.analysis.ablations import (
    PAPER,
    VARIANTS,
    plot_ablations,
    run_ablations,
    summarize,
    summary_table,
)
from mmfft.engine import command_line, config_parser, load_config


def parse_args():
    parser = config_parser(__doc__)
    parser.add_argument(
        '--variants',
        nargs='+',
        default=list(PAPER),
        help='variants to train, by default those of the paper: '
        + ', '.join(PAPER)
        + '; starts of the backbone of the config: '
        + ', '.join(v for v in VARIANTS if v not in PAPER),
    )
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument(
        '--epochs', type=int, default=8, help='length of each training'
    )
    parser.add_argument(
        '--out',
        default='work_dirs/ablations',
        help='folder of runs.csv, table.md, ablations.png and the runs',
    )
    return parser.parse_args()


def main():
    args = parse_args()
    with command_line('ablations.py'):
        cfg = load_config(args.config, cfg_options=args.cfg_options)
        rows = run_ablations(
            cfg, args.out, args.variants, args.seeds, args.epochs
        )
    table = summary_table(summarize(rows))
    out = Path(args.out)
    (out / 'table.md').write_text(table, encoding='utf-8')
    plot_ablations(rows, out / 'ablations.png')
    print(table)
    print(f'written: {out}/runs.csv, table.md, ablations.png')


if __name__ == '__main__':
    main()
