# Copyright (c) mmfft authors. All rights reserved.
"""Parameters and FLOPs of a model, the Fourier transforms counted."""

from collections.abc import Sequence
from functools import partial
from math import log2, prod
from typing import Any, NamedTuple

import torch
from mmengine.analysis import FlopAnalyzer, parameter_count
from mmengine.analysis.print_helper import complexity_stats_table
from mmengine.config import Config
from torch import nn

from ..engine import build_model
from ..errors import ConfigError
from ..ops import half_spectrum_shape


def transform_flops(shape: tuple[int, ...]) -> float:
    r"""A real two-dimensional FFT of each channel of each image.

    :math:`\frac{5}{2} n \log_2 n` operations for :math:`n = HW` points, the
    figure by which `FFTW <https://www.fftw.org/speed/>`_ counts.

    Args:
        shape (tuple[int, ...]): ``(B, H, W, C)``.

    Returns:
        float: FLOPs.
    """
    batch, rows, columns, channels = shape
    points = rows * columns
    return batch * channels * 2.5 * points * log2(points)


def filter_flops(shape: tuple[int, ...], num_filters: int = 0) -> float:
    """A static or dynamic spectral filter: there and back, and the product.

    Each entry of the half spectrum takes four multiplications, and to mix its
    filter from a basis two for each of the basis filters.

    Args:
        shape (tuple[int, ...]): ``(B, H, W, C)``.
        num_filters (int): Of the basis; 0 for a static filter.

    Returns:
        float: FLOPs.
    """
    batch, rows, columns, channels = shape
    entries = batch * channels * prod(half_spectrum_shape((rows, columns)))
    return 2 * transform_flops(shape) + (4 + 2 * num_filters) * entries


def _shape(value: torch._C.Value) -> tuple[int, ...]:
    return tuple(value.type().sizes())


# What FlopAnalyzer calls for a node of the graph, with its values.
_OPERATORS = {
    'mmfft::spectral_filter': lambda inputs, outputs: filter_flops(
        _shape(inputs[0])
    ),
    'mmfft::dynamic_spectral_filter': lambda inputs, outputs: filter_flops(
        _shape(inputs[0]), _shape(inputs[1])[1]
    ),
    'mmfft::rfft2': lambda inputs, outputs: transform_flops(_shape(inputs[0])),
    'mmfft::irfft2': lambda inputs, outputs: transform_flops(
        _shape(outputs[0])
    ),
}


class Complexity(NamedTuple):
    """What :func:`count_flops` finds.

    Attributes:
        flops (int): In all.
        params (int): Parameters.
        by_operator (dict[str, int]): FLOPs of each kind of operator.
        table (str): Both by module, as mmengine prints them.
    """

    flops: int
    params: int
    by_operator: dict[str, int]
    table: str


def count_flops(model: nn.Module, *inputs: Any, depth: int = 3) -> Complexity:
    """Count parameters and FLOPs by mmengine's analyser.

    It takes a multiplication with an addition for one FLOP and leaves out
    what works element by element, except for norms. Here the spectral filters
    are counted too, by :func:`filter_flops`, whose every operation is one
    FLOP, and AFNO's transforms. Filters are kept once they are brought to the
    grid of an input, so that resizing them is not counted.

    Args:
        model (nn.Module): In evaluation mode.
        *inputs: Of its ``forward``.
        depth (int): Levels of modules in the table. Defaults to 3.

    Returns:
        Complexity: Of one call.
    """
    analyser = FlopAnalyzer(model, inputs).set_op_handle(**_OPERATORS)
    analyser.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    analyser.tracer_warnings('none')
    with torch.no_grad():
        flops = analyser.total()
    return Complexity(
        int(flops),
        parameter_count(model)[''],
        {name: int(n) for name, n in analyser.by_operator().items()},
        complexity_stats_table(analyser, depth),
    )


def config_flops(
    cfg: Config, shape: Sequence[int] | None = None, depth: int = 3
) -> tuple[tuple[int, int], Complexity]:
    """:func:`count_flops` of a config's whole model at one image.

    A classifier gives its logits, a segmentor its logits before they are
    enlarged, a detector what its heads give before boxes are decoded; a
    two-stage one runs on the proposals that its random weights make, whose
    number is the config's limit or less.

    Args:
        cfg (Config): Of mmpretrain, mmdet or mmseg.
        shape (Sequence[int], optional): ``(H, W)`` of the image or one number
            for both. Defaults to the ``img_size`` of the backbone.
        depth (int): Levels of modules in the table. Defaults to 3.

    Returns:
        tuple[tuple[int, int], Complexity]: ``(H, W)``, and the figures.

    Raises:
        ConfigError: If the shape is no image's.
    """
    scope = cfg.get('default_scope')
    model = build_model(cfg)
    size = _image_size(model, shape)
    if scope == 'mmdet':
        model.forward = partial(model.forward, data_samples=[_sample(size)])
    elif scope == 'mmseg':
        model.auxiliary_head = None  # in training alone
    channels = cfg.model.backbone.get('in_channels', 3)
    image = torch.zeros(1, channels, *size)
    return size, count_flops(model, image, depth=depth)


def _image_size(
    model: nn.Module, shape: Sequence[int] | None
) -> tuple[int, int]:
    if shape is None:
        shape = getattr(model.backbone, 'img_size', ())
    size = tuple(shape) * 2 if len(shape) == 1 else tuple(shape)
    if len(size) != 2 or min(size) < 1:
        raise ConfigError(
            '--shape must be one or two positive numbers, height and width, '
            f'got {list(shape)}'
        )
    return size


def _sample(size: tuple[int, int]):
    from mmdet.structures import DetDataSample

    keys = ('img_shape', 'ori_shape', 'pad_shape', 'batch_input_shape')
    return DetDataSample(
        metainfo=dict.fromkeys(keys, size) | dict(scale_factor=(1.0, 1.0))
    )
