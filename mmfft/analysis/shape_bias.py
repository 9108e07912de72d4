# Copyright (c) mmfft authors. All rights reserved.
"""Shape bias of models, from the decisions that mmpretrain records."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from ..errors import ConfigError


@dataclass
class ShapeBias:
    """Decisions of one model on images whose shape and texture differ.

    Args:
        model (str): Name of the model.
        shape (dict[str, int]): Decisions for the shape, by class of the
            shape.
        texture (dict[str, int]): Decisions for the texture, likewise.
        images (int): Number of images with a conflict.
    """

    model: str
    shape: dict[str, int]
    texture: dict[str, int]
    images: int

    def of(self, category: str | None = None) -> float | None:
        """Shape bias on a class, or on all classes.

        This is the share of decisions for the shape among those for the shape
        or for the texture, `as published <https://arxiv.org/abs/1811.12231>`_;
        None if there is neither.
        """
        names = self.shape if category is None else [category]
        shape = sum(self.shape[name] for name in names)
        both = shape + sum(self.texture[name] for name in names)
        return shape / both if both else None

    def summary(self) -> dict:
        """Collect the numbers for a JSON file."""
        return dict(
            shape_bias=self.of(),
            decided_by_shape=sum(self.shape.values()),
            decided_by_texture=sum(self.texture.values()),
            images_with_conflict=self.images,
            shape_bias_by_class={name: self.of(name) for name in self.shape},
        )


def read_decisions(path: str | Path) -> ShapeBias:
    """Count the decisions in a file of mmpretrain's ``ShapeBiasMetric``.

    Images are named by shape and texture, as in ``cat1-dog2.png``; images
    with the same class for both are left out, as published.

    Args:
        path (str | Path): Path of the ``.csv`` file.

    Returns:
        ShapeBias: Decisions of the model that the file names.

    Raises:
        ConfigError: If the file is of another kind, or contains no conflict.
    """
    with open(path, newline='') as file:
        rows = list(csv.DictReader(file))
    wanted = {'subj', 'object_response', 'category', 'imagename'}
    if not rows or not wanted <= set(rows[0]):
        raise ConfigError(
            f'{str(path)!r} holds no decisions of ShapeBiasMetric: its '
            f'columns are {list(rows[0]) if rows else []}'
        )
    categories = sorted({row['category'] for row in rows})
    shape, texture = (dict.fromkeys(categories, 0) for _ in range(2))
    images = 0
    for row in rows:
        by_shape, decided = row['category'], row['object_response']
        by_texture = _texture(row['imagename'])
        if by_shape == by_texture:
            continue
        images += 1
        shape[by_shape] += decided == by_shape
        texture[by_shape] += decided == by_texture
    if not images:
        raise ConfigError(f'no image of {str(path)!r} has a cue conflict')
    return ShapeBias(rows[0]['subj'], shape, texture, images)


def _texture(name: str) -> str:
    """Return ``'dog'`` for ``'cat1-dog2.png'``."""
    return Path(name).stem.split('-')[-1].rstrip('0123456789')


def draw_shape_bias(results: Sequence[ShapeBias], path: str | Path) -> None:
    """Compare models class by class in a picture.

    After the figure of `Geirhos et al. <https://arxiv.org/abs/1811.12231>`_:
    a point for each class, and a line for all classes together.

    Args:
        results (Sequence[ShapeBias]): Decisions of each model.
        path (str | Path): Path of the ``.png`` file; its folder is made if
            needed.
    """
    categories = sorted({name for one in results for name in one.shape})
    rows = np.arange(len(categories))
    figure = Figure(
        figsize=(7, 1.6 + 0.32 * len(categories)), dpi=100,
        layout='constrained',
    )  # fmt: skip
    axes = figure.add_subplot()
    for i, one in enumerate(results):
        colour = colormaps['tab10'](i % 10)
        points = [one.of(n) if n in one.shape else None for n in categories]
        points = np.array([np.nan if p is None else p for p in points])
        total = one.of()
        label = one.model
        if total is not None:
            axes.axvline(total, color=colour, linewidth=1.5, alpha=0.7)
            label += f': {100 * total:.0f} %'
        axes.scatter(
            points, rows, color=colour, s=60, zorder=3, label=label,
            edgecolors='white',
        )  # fmt: skip
    axes.set_yticks(rows, categories)
    axes.set_xlim(-0.02, 1.02)
    axes.grid(axis='both', linestyle=':', alpha=0.6)
    axes.set_xlabel('decisions by shape  /  by shape or texture')
    axes.set_title('Shape bias on cue-conflict images', loc='left')
    figure.legend(loc='outside lower center', ncols=2, frameon=False)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
