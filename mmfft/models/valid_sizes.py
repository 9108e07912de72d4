# Copyright (c) mmfft authors. All rights reserved.
"""Images of several sizes in one padded batch."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import ConfigError
from ..ops.dispatch import is_recorded, run_by_python
from ..ops.spectrum import Grid


@run_by_python
def forward_each_size(
    forward: Callable[[Tensor], tuple[Tensor, ...]],
    out_grids: Callable[[Grid], Sequence[Grid]],
    x: Tensor,
    valid_sizes: Sequence[Grid],
    least: int,
) -> tuple[Tensor, ...]:
    """Run a network on each image of a batch without its padding.

    Images of one size are run together. What the features have beyond an
    image is zero. A compiled network runs such a batch uncompiled.

    Args:
        forward (Callable): Network, of ``(B, C, H, W)`` to features of the
            same layout.
        out_grids (Callable): Size of each of the features, of the size of an
            image.
        x (Tensor): Batch of shape ``(B, C, H, W)``.
        valid_sizes (Sequence[tuple[int, int]]): ``(h, w)`` of each image,
            which is the upper left part of its ``(H, W)``.
        least (int): Shortest side of an image that the network takes.

    Returns:
        tuple[Tensor]: Features of the size of those of ``(H, W)``.

    Raises:
        ConfigError: If the sizes do not fit the batch, or a graph is exported
            or traced, which cannot hold them.
    """
    # The compiler is kept out, so that it can only be an exporter or a tracer.
    if is_recorded():
        raise ConfigError(
            'valid_sizes cannot be a part of an exported or traced graph: '
            'export without them, and give the graph images without padding'
        )
    whole = (x.shape[2], x.shape[3])
    images_of = _images_by_size(valid_sizes, x, least)
    if set(images_of) <= {whole}:
        return forward(x)
    parts, order = [], []
    for (rows, columns), images in images_of.items():
        part = x[:, :, :rows, :columns]
        if len(images) < len(x):
            part = _in_order(part, images)
        parts.append(forward(part))
        order += images
    backwards = sorted(range(len(order)), key=order.__getitem__)
    # Most batches are in order: each image has a size of its own, or all one.
    moved = order != sorted(order)
    outs = []
    for grid, features in zip(out_grids(whole), zip(*parts)):
        out = torch.cat([_pad(f, grid) for f in features])
        outs.append(_in_order(out, backwards) if moved else out)
    return tuple(outs)


def _in_order(x: Tensor, images: list[int]) -> Tensor:
    """``x[images]``, which would wait for a GPU to receive the indices."""
    one_by_one = x.split(1)
    return torch.cat([one_by_one[i] for i in images])


def _images_by_size(
    valid_sizes: Sequence[Grid], x: Tensor, least: int
) -> dict[Grid, list[int]]:
    if len(valid_sizes) != len(x):
        raise ConfigError(
            'valid_sizes must have the (height, width) of each of the '
            f'{len(x)} images of the batch, got {len(valid_sizes)} sizes'
        )
    images_of: dict[Grid, list[int]] = {}
    for i, size in enumerate(valid_sizes):
        rows, columns = map(int, size)
        if not (
            least <= rows <= x.shape[2] and least <= columns <= x.shape[3]
        ):
            raise ConfigError(
                f'valid_sizes[{i}] must be (height, width), of at least '
                f'{least} and at most {tuple(x.shape[2:])} pixels, got '
                f'{tuple(size)}'
            )
        images_of.setdefault((rows, columns), []).append(i)
    return images_of


def _pad(features: Tensor, grid: Grid) -> Tensor:
    rows, columns = features.shape[2:]
    return F.pad(features, (0, grid[1] - columns, 0, grid[0] - rows))
