# Copyright (c) mmfft authors. All rights reserved.
"""Lists of names: compared, and written in a message."""

from collections.abc import Sequence


def few(values: Sequence, most: int = 5) -> str:
    """Write the first of some values, and how many more there are."""
    more = f' and {len(values) - most} more' if len(values) > most else ''
    return ', '.join(repr(value) for value in values[:most]) + more


def moved(first: Sequence, second: Sequence) -> list:
    """Find what both sequences have, but at another place.

    Args:
        first (Sequence): Names of labels, in their order.
        second (Sequence): Those of another data set.

    Returns:
        list: Names in the order of the first.
    """
    places = {name: i for i, name in enumerate(second)}
    return [n for i, n in enumerate(first) if places.get(n, i) != i]
