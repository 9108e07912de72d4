# Copyright (c) mmfft authors. All rights reserved.
"""Tables of results, in CSV files and in Markdown."""

import csv
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..errors import ConfigError


class Records:
    """Rows of a CSV file, each written as soon as it is known.

    Args:
        path (str | Path): Path of the file; existing rows are read.
        keys (Sequence[str]): Columns that identify a row, kept as text.
        values (Sequence[str]): Columns of numbers; an empty cell is None.

    Raises:
        ConfigError: If the file has other columns.
    """

    def __init__(
        self, path: str | Path, keys: Sequence[str], values: Sequence[str]
    ):
        self.path = Path(path)
        self.keys, self.values = tuple(keys), tuple(values)
        self.rows: list[dict] = []
        columns = [*self.keys, *self.values]
        if not self.path.exists():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._append(columns)
            return
        with self.path.open(newline='', encoding='utf-8') as file:
            reader = csv.DictReader(file)
            if reader.fieldnames != columns:
                raise ConfigError(
                    f'{str(self.path)!r} has the columns {reader.fieldnames}, '
                    f'not {columns}: move it away or choose another place'
                )
            self.rows = [self._typed(row) for row in reader]

    def __contains__(self, case: dict) -> bool:
        """Whether there is a row with these keys."""
        return self._find(case) is not None

    def __getitem__(self, case: dict) -> dict:
        """The first row with these keys.

        Raises:
            KeyError: If there is none.
        """
        row = self._find(case)
        if row is None:
            raise KeyError(self._key(case))
        return row

    def add(self, row: dict) -> None:
        """Append a row; missing values stay empty."""
        cells = ['' if row.get(k) is None else row[k] for k in self.values]
        self._append([*(row[key] for key in self.keys), *cells])
        self.rows.append(self._typed(row))

    def _find(self, case: dict) -> dict | None:
        key = self._key(case)
        return next((row for row in self.rows if self._key(row) == key), None)

    def _append(self, cells: list) -> None:
        with self.path.open('a', newline='', encoding='utf-8') as file:
            csv.writer(file).writerow(cells)

    def _key(self, row: dict) -> tuple[str, ...]:
        return tuple(str(row[key]) for key in self.keys)

    def _typed(self, row: dict) -> dict:
        values = {name: row.get(name) for name in self.values}
        return dict(
            zip(self.keys, self._key(row)),
            **{
                name: None if value in (None, '') else float(value)
                for name, value in values.items()
            },
        )


def mean_and_spread(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation.

    Args:
        values (Sequence[float]): Results, such as one per seed.

    Returns:
        tuple[float, float | None]: Mean and deviation; the deviation is None
        for a single value.
    """
    spread = statistics.stdev(values) if len(values) > 1 else None
    return statistics.mean(values), spread


def around(mean: float, spread: float | None) -> str:
    """Format the result of :func:`mean_and_spread`, as in ``'97.2 ± 0.3'``."""
    return f'{mean:.1f}' + ('' if spread is None else f' ± {spread:.1f}')


def markdown_table(
    head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 0
) -> str:
    """Format a table in Markdown.

    Args:
        head (Sequence[str]): Titles of the columns.
        rows (Iterable[Sequence[str]]): Cells of each row.
        left (int): Number of columns, from the first, that are aligned to the
            left; the others are numbers. Defaults to 0.

    Returns:
        str: Lines of the table.
    """
    rule = ['---'] * left + ['---:'] * (len(head) - left)
    lines = [f'| {" | ".join(head)} |', f'|{"|".join(rule)}|']
    lines += [f'| {" | ".join(row)} |' for row in rows]
    return '\n'.join(lines) + '\n'
