# Copyright (c) mmfft authors. All rights reserved.
"""Which images are for training and which for validation."""

import random
from collections.abc import Sequence
from pathlib import Path

from ...errors import ConfigError


def split(
    names: Sequence[str], fraction: float, seed: int
) -> tuple[list[str], list[str]]:
    """Draw names for validation, whatever their order.

    Args:
        names (Sequence[str]): Different names.
        fraction (float): Fraction for validation, from 0 to 1. Of two names
            or more, each side gets at least one, unless the fraction is 0 or
            1.
        seed (int): Seed of the draw.

    Returns:
        tuple[list[str], list[str]]: Names for training and for validation,
        sorted.

    Raises:
        ConfigError: If the fraction is not from 0 to 1.
    """
    if not 0 <= fraction <= 1:
        raise ConfigError(f'--val-fraction {fraction} must be from 0 to 1')
    ordered = sorted(names)
    count = round(fraction * len(ordered))
    if 0 < fraction < 1:
        count = min(max(count, len(ordered) > 1), max(len(ordered) - 1, 0))
    drawn = set(random.Random(seed).sample(ordered, count))
    return [n for n in ordered if n not in drawn], sorted(drawn)


def read_list(path: str | Path) -> list[str]:
    """Read the names of images, one a line.

    Args:
        path (str | Path): Text file. Only the first word of a line counts, as
            in the lists of Pascal VOC; a name may have an ending or not.

    Returns:
        list[str]: Names.

    Raises:
        ConfigError: If the file cannot be read, or is empty.
    """
    try:
        lines = Path(path).read_text(encoding='utf-8').splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"list '{path}' cannot be read: {error}") from error
    names = [line.split()[0] for line in lines if line.strip()]
    if not names:
        raise ConfigError(f"list '{path}' is empty")
    return names
