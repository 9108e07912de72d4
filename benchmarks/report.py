# Copyright (c) mmfft authors. All rights reserved.
"""Print the tables of benchmarks again from their rows, and plot them.

    python -m benchmarks.report work_dirs/benchmarks/*.jsonl

A file that was cut short has all rows that were measured until then.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import matplotlib
from matplotlib import pyplot
from rich.console import Console
from rich.table import Table

from mmfft.measure import OUT_OF_MEMORY

matplotlib.use('Agg')


def is_failure(row: dict) -> bool:
    """Whether a row shows that something is wrong."""
    failed = 'error' in row and row['error'] != OUT_OF_MEMORY
    return failed or row.get('passed') is False


def read(path: Path) -> tuple[dict, list[dict]]:
    """Read the rows of a benchmark and compute their ratios.

    Args:
        path (Path): File of JSON lines; the last one may be cut short.

    Returns:
        tuple[dict, list[dict]]: The environment and the rows. To rows with
        the same case as their baseline, ``speed`` and ``memory_ratio`` are
        added.
    """
    lines = path.read_text().splitlines(keepends=True)
    whole = [json.loads(line) for line in lines if line.endswith('\n')]
    environment, *rows = whole
    found = {(*_case(row).items(), row.get('name')): row for row in rows}
    for row in rows:
        if 'baseline' not in row:
            continue
        other = found.get((*_case(row).items(), row['baseline']), {})
        if 'ms' in row and 'ms' in other:
            row['speed'] = other['ms'] / row['ms']
            if 'memory' in row and other['memory']:
                row['memory_ratio'] = row['memory'] / other['memory']
    return environment, rows


def _case(row: dict) -> dict:
    """What a row has in common with others: the keys before the name."""
    keys = list(row)
    end = keys.index('name') if 'name' in row else 0
    return {key: row[key] for key in keys[:end]}


def report(path: Path) -> None:
    """Print the table of a file of rows and write its plots beside it.

    Args:
        path (Path): File of JSON lines.
    """
    environment, rows = read(path)
    title = (
        f'{environment["benchmark"]}: {environment["device"]}, '
        f'{environment["threads"]} threads, torch {environment["torch"]}'
    )
    dtype = environment['arguments'].get('dtype')
    measured = [row for row in rows if 'baseline' in row]
    checked = [row for row in rows if 'passed' in row or 'skipped' in row]
    if measured:
        Console(width=120).print(_table(f'{title}, {dtype}', measured))
        names = ' or '.join(sorted({row['baseline'] for row in measured}))
        print(f'ratios compare with {names} in the same case')
        for name, plot in PLOTS.get(environment['benchmark'], {}).items():
            _plot(path.with_name(f'{name}.png'), measured, **plot)
    if checked:
        print(title)
        skipped = sum('skipped' in row for row in checked)
        passed = sum(row.get('passed', False) for row in checked)
        print(f'{passed} checks passed, {skipped} not possible here')
    failures = list(filter(is_failure, rows))
    for row in failures:
        print(f'FAILED: {json.dumps(row)[:400]}')
    for row in rows:
        if 'left_out' in row:
            print(f'left out for want of time: {"; ".join(row["left_out"])}')
    print(f'{path}: {len(rows)} rows, {len(failures)} failed')


def _table(title: str, rows: list[dict]) -> Table:
    table = Table(title=title)
    keys = list(_case(rows[0]))
    for key in (*keys, 'name'):
        table.add_column(key)
    columns = {
        head: cell
        for head, cell in _COLUMNS.items()
        if any(cell(row) for row in rows)
    }
    for head in columns:
        table.add_column(head, justify='right')
    before = None
    for row in rows:
        case = _case(row)
        if before not in (None, case):
            table.add_section()
        before = case
        if 'error' in row:
            cells = [row['error'][:40]]
        else:
            cells = [cell(row) for cell in columns.values()]
        table.add_row(*map(str, case.values()), row['name'], *cells)
    return table


def _number(key: str, form: str, unit: float = 1) -> Callable[[dict], str]:
    def cell(row):
        return form.format(row[key] / unit) if key in row else ''

    return cell


def _error(row: dict) -> str:
    errors = [row[key] for key in row if key.startswith('error_')]
    return f'{max(errors):.1e}' if errors else ''


_COLUMNS = {
    'ms': _number('ms', '{:.2f}'),
    'graph ms': _number('graph_ms', '{:.2f}'),
    'GB/s': _number('bandwidth', '{:.0f}', 1e9),
    'speed': _number('speed', '{:.2f}x'),
    'MiB': _number('memory', '{:.1f}', 2**20),
    'memory': _number('memory_ratio', '{:.2f}x'),
    'error': _error,
}


def _backbones(key: str, ylabel: str) -> dict:
    return dict(
        panel=lambda row: f'{row["mode"]}, batch {row["batch"]}',
        label=lambda row: row['image'],
        value=lambda row: row.get(key),
        ylabel=ylabel,
    )


PLOTS = dict(
    op=dict(
        op=dict(
            panel=lambda row: (
                f'{row["mode"]}, image {row["image"]}, batch {row["batch"]}'
            ),
            label=lambda row: f'{row["grid"]}\n{row["channels"]}',
            value=lambda row: row.get('speed'),
            ylabel='speed against plain',
        )
    ),
    backbones=dict(
        backbones_images_per_second=_backbones(
            'images_per_second', 'images/s'
        ),
        backbones_memory=_backbones('memory', 'peak memory, bytes'),
    ),
)


def _plot(
    path: Path,
    rows: list[dict],
    panel: Callable[[dict], str],
    label: Callable[[dict], str],
    value: Callable[[dict], float | None],
    ylabel: str,
) -> None:
    """Write a plot with a panel per case.

    Args:
        path (Path): Path of the plot.
        rows (list[dict]): Results, as from :func:`read`.
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
    if axes[0, 0].containers:
        axes[0, 0].legend(fontsize='x-small')
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    print(f'written: {path}')


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('files', nargs='+', type=Path)
    for path in parser.parse_args(argv).files:
        report(path)


if __name__ == '__main__':
    main()
