# Copyright (c) mmfft authors. All rights reserved.
"""What the benchmarks share: arguments, cases, reports and plots."""

import argparse
import json
import platform
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import torch
from matplotlib import pyplot
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from mmfft.measure import device_name

DTYPES = dict(
    float32=torch.float32, bfloat16=torch.bfloat16, float16=torch.float16
)


def size_of(text: str) -> tuple[int, int]:
    """Parse ``'224'`` or ``'800x1344'`` as ``(height, width)``."""
    rows, _, columns = text.partition('x')
    return int(rows), int(columns or rows)


def parser(description: str) -> argparse.ArgumentParser:
    """Make a parser of the arguments that all benchmarks have."""
    parser = argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    has_gpu = torch.cuda.is_available()
    parser.add_argument('--device', default='cuda' if has_gpu else 'cpu')
    parser.add_argument('--dtype', choices=DTYPES, default='float32')
    parser.add_argument('--batch', type=int, nargs='+', default=[8])
    parser.add_argument(
        '--mode',
        choices=('infer', 'train'),
        nargs='+',
        default=['infer', 'train'],
    )
    parser.add_argument('--rounds', type=int, default=9)
    parser.add_argument(
        '--threads', type=int, help='number of threads on a CPU'
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('work_dirs/benchmarks'),
        help='folder for the JSON file and the plot',
    )
    return parser


def environment(args: argparse.Namespace) -> dict:
    """Describe machine, versions and arguments."""
    device = torch.device(args.device)
    return dict(
        device=device_name(device),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        python=platform.python_version(),
        arguments={k: str(v) for k, v in vars(args).items()},
    )


def cases(*lists: list) -> Iterator[tuple]:
    """Yield all combinations of the values, with a progress bar."""
    combinations = [()]
    for values in lists:
        combinations = [(*c, v) for c in combinations for v in values]
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task('', total=len(combinations))
        for case in combinations:
            label = ' '.join(str(v) for v in case)
            progress.update(task, description=label)
            yield case
            progress.advance(task)


def precision(args: argparse.Namespace):
    """Return a context of autocast, which does nothing for float32."""
    dtype, device = DTYPES[args.dtype], torch.device(args.device)
    if dtype == torch.float32:
        return nullcontext()
    return torch.autocast(device.type, dtype=dtype)


def report(
    args: argparse.Namespace,
    name: str,
    rows: list[dict],
    baseline: Callable[[str], str],
) -> None:
    """Print a table and write the results to ``name.json``.

    Args:
        args (argparse.Namespace): Arguments from :func:`parser`.
        name (str): Name of the file and title of the table.
        rows (list[dict]): Results: in each row the keys of a case, then
            ``name`` and the results of :func:`mmfft.measure.compare`.
        baseline (Callable): Function from the name of a contender to the name
            of the one with which it is compared.
    """
    keys = list(rows[0])[: list(rows[0]).index('name')]
    found = {(*(row[key] for key in keys), row['name']): row for row in rows}
    for row in rows:
        case = [row[key] for key in keys]
        other = found.get((*case, baseline(row['name'])), {})
        if 'seconds' in row and 'seconds' in other:
            row['speed'] = other['seconds'] / row['seconds']
            if other['memory']:
                row['memory_ratio'] = row['memory'] / other['memory']
    env = environment(args)
    table = Table(
        title=f'{name}: {env["device"]}, {env["threads"]} threads, '
        f'{args.dtype}, torch {env["torch"]}'
    )
    heads = ('ms', 'speed', 'MiB', 'memory')
    for key in (*keys, 'name'):
        table.add_column(key)
    for head in heads:
        table.add_column(head, justify='right')
    before = None
    for row in rows:
        case = tuple(row[key] for key in keys)
        if before not in (None, case):
            table.add_section()
        before = case
        table.add_row(*map(str, case), row['name'], *_cells(row))
    Console(width=120).print(table)
    names = ' or '.join(sorted({baseline(row['name']) for row in rows}))
    print(f'ratios compare with {names} in the same case')
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / f'{name}.json'
    path.write_text(json.dumps(dict(environment=env, rows=rows), indent=1))
    print(f'written: {path}')


def _cells(row: dict) -> list[str]:
    if 'error' in row:
        return [row['error'], '', '', '']

    def ratio(key):
        return f'{row[key]:.2f}x' if key in row else ''

    return [
        f'{row["seconds"] * 1e3:.2f}',
        ratio('speed'),
        f'{row["memory"] / 2**20:.1f}',
        ratio('memory_ratio'),
    ]


def plot(
    args: argparse.Namespace,
    name: str,
    rows: list[dict],
    panel: Callable[[dict], str],
    label: Callable[[dict], str],
    value: Callable[[dict], float | None],
    ylabel: str,
) -> None:
    """Write a plot ``name.png``, with a panel per case.

    Args:
        args (argparse.Namespace): Arguments from :func:`parser`.
        name (str): Name of the file.
        rows (list[dict]): Results, as for :func:`report`.
        panel (Callable): Function from a row to the title of its panel.
        label (Callable): Function from a row to its place on the x-axis.
        value (Callable): Function from a row to the height of its bar; None
            for no bar.
        ylabel (str): Label of the y-axis.
    """
    panels: dict[str, list[dict]] = {}
    for row in rows:
        panels.setdefault(panel(row), []).append(row)
    figure, axes = pyplot.subplots(
        len(panels), 1, figsize=(8, 2.6 * len(panels)), squeeze=False
    )
    names = list(dict.fromkeys(row['name'] for row in rows))
    for axis, (title, members) in zip(axes[:, 0], panels.items()):
        ticks = list(dict.fromkeys(label(row) for row in members))
        width = 0.8 / len(names)
        for i, contender in enumerate(names):
            points = [
                (ticks.index(label(row)) + i * width, value(row))
                for row in members
                if row['name'] == contender and value(row) is not None
            ]
            if points:
                axis.bar(*zip(*points), width, label=contender)
        axis.set_xticks(
            [i + 0.4 - width / 2 for i in range(len(ticks))], ticks
        )
        axis.set_title(title, fontsize='medium')
        axis.set_ylabel(ylabel)
        axis.grid(axis='y', alpha=0.3)
    axes[0, 0].legend(fontsize='x-small')
    figure.tight_layout()
    path = args.out / f'{name}.png'
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    print(f'written: {path}')
