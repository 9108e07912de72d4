# Copyright (c) mmfft authors. All rights reserved.
"""The effective receptive field: which pixels the features at the centre see.

From `Understanding the Effective Receptive Field in Deep Convolutional Neural
Networks <https://arxiv.org/abs/1701.04128>`_, aggregated and reported as in
`Scaling Up Your Kernels to 31x31 <https://arxiv.org/abs/2203.06717>`_.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from ..errors import ConfigError
from .feature_models import features_at, label

SHARES = (0.2, 0.3, 0.5, 0.99)
# Contributions below this fraction of the largest one are drawn alike.
_FLOOR = 1e-5


def contributions(
    model: nn.Module, images: Tensor, stride: int, batch: int = 4
) -> Tensor:
    """Measure how much each pixel influences the features at the centre.

    This is the absolute gradient of the sum of the positive features there,
    summed over the colours and averaged over the images.

    Args:
        model (nn.Module): Model from :func:`.load_feature_model`.
        images (Tensor): Images of shape ``(N, C, H, W)``.
        stride (int): Stride of the features, see :func:`features_at`.
        batch (int): Number of images at a time. Defaults to 4.

    Returns:
        Tensor: Contributions of shape ``(H, W)``, whose sum is 1.

    Raises:
        ConfigError: If the model has no such features or they are all
            negative.
    """
    total = torch.zeros(images.shape[2:], dtype=torch.float64)
    for x in images.split(batch):
        x = x.clone().requires_grad_()
        features = features_at(model, x, stride)
        rows, columns = features.shape[2:]
        centre = features[:, :, rows // 2, columns // 2]
        (grad,) = torch.autograd.grad(centre.relu().sum(), x)
        total += grad.abs().double().sum(dim=(0, 1))
    if not total.sum() > 0:
        raise ConfigError(
            f'no pixel influences the centre of stride {stride}: its features '
            'are negative or its weights are zero'
        )
    return total / total.sum()


def area_ratios(
    contribution: Tensor, shares: Sequence[float] = SHARES
) -> dict[float, float]:
    """Measure the part of the image with a share of all contributions.

    It is the smallest rectangle of the image's shape around the centre: a
    small ratio for half of the contributions means that the field is narrow.

    Args:
        contribution (Tensor): Contributions from :func:`contributions`.
        shares (Sequence[float]): Shares of all contributions. Defaults to
            :data:`SHARES`.

    Returns:
        dict[float, float]: Area of the rectangle relative to the image, by
        share.
    """
    height, width = contribution.shape
    # Side of the smallest rectangle with a pixel, relative to the full one.
    rows = (torch.arange(height) + 0.5 - height / 2).abs() / (height / 2)
    columns = (torch.arange(width) + 0.5 - width / 2).abs() / (width / 2)
    side = torch.maximum(rows[:, None], columns).flatten()
    order = side.argsort()
    held = contribution.flatten()[order].cumsum(0)
    # Half a pixel further: the side reaches a pixel's outer edge.
    edge = side[order] + 1 / max(height, width)
    return {
        share: float(
            edge[min(int((held < share).sum()), len(edge) - 1)].clamp(max=1)
            ** 2
        )
        for share in shares
    }


def plot_fields(
    fields: dict[str, dict[int, Tensor]], path: str | Path
) -> None:
    """Draw a row per model and a column per stride, in logarithmic colours.

    Args:
        fields (dict[str, dict[int, Tensor]]): Contributions by model, named
            as for :func:`.load_feature_model`, and stride.
        path (str | Path): Path of the PNG to write.
    """
    strides = list(next(iter(fields.values())))
    figure = Figure(figsize=(2.3 * len(strides) + 1, 2.6 * len(fields)))
    axes = figure.subplots(len(fields), len(strides), squeeze=False)
    for row, (spec, by_stride) in zip(axes, fields.items()):
        for axis, (stride, field) in zip(row, by_stride.items()):
            scaled = (field / field.max()).clamp(min=_FLOOR).log10()
            picture = axis.imshow(
                scaled.numpy(), vmin=math.log10(_FLOOR), vmax=0
            )
            half = area_ratios(field, (0.5,))[0.5]
            axis.set_title(
                f'stride {stride}: half in {100 * half:.1f} %', fontsize=8
            )
            axis.set_xticks([])
            axis.set_yticks([])
        row[0].set_ylabel(label(spec), fontsize=8)
    figure.colorbar(
        picture, ax=axes, label='log10 of contribution / largest', shrink=0.8
    )
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80, bbox_inches='tight')
