# Copyright (c) mmfft authors. All rights reserved.
"""Parameters and FLOPs of a model, including its Fourier transforms."""

from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from typing import Any, NamedTuple

import torch
from mmengine.analysis import FlopAnalyzer, parameter_count
from mmengine.analysis.jit_handles import conv_flop_jit, linear_flop_jit
from mmengine.analysis.print_helper import complexity_stats_table
from mmengine.config import Config
from torch import nn

from ..engine import build_model, image_channels
from ..errors import ConfigError, require_one_of
from ..openmmlab.scopes import TOOLBOXES, choose_by_scope
from ..ops import half_spectrum_shape
from ..ops.flops import COSTS, Cost

CONVENTIONS = ('mmfft', 'gfnet', 'linear')


def _shape(value: torch._C.Value) -> tuple[int, ...] | None:
    is_tensor = isinstance(value.type(), torch._C.TensorType)
    return tuple(value.type().sizes()) if is_tensor else None


def _handle(cost: Callable[..., Cost]) -> Callable[[list, list], float]:
    """Function that FlopAnalyzer calls with the values of a node."""

    def handle(inputs: list, outputs: list) -> float:
        shapes = map(_shape, inputs)
        return sum(cost(*shapes, out_shape=_shape(outputs[0])))

    return handle


def _published_transforms(
    shape: Sequence[int], forward: int = 1, inverse: int = 1
) -> Cost:
    """Cost of transforms by the script of GFNet's authors.

    It takes what a transform is given for its points: the inverse has the
    half spectrum.
    """
    batch, rows, columns, channels = shape
    entries = prod(half_spectrum_shape((rows, columns)))
    each = [(forward, rows * columns), (inverse, entries)]
    # The number of bits of n - 1 is log2(n), rounded up.
    operations = sum(times * n * (n - 1).bit_length() for times, n in each)
    return Cost(batch * channels * operations)


_PUBLISHED_COSTS: dict[str, Callable[..., Cost]] = {
    'spectral_filter': lambda x, filter, out_shape: _published_transforms(x),
    'dynamic_spectral_filter': lambda x, routing, basis, out_shape: (
        _published_transforms(x)
    ),
    'rfft2': lambda x, out_shape: _published_transforms(x, inverse=0),
    'irfft2': lambda parts, columns, out_shape: _published_transforms(
        out_shape, forward=0
    ),
}


def _attention(query, key, value, *options, out_shape) -> Cost:
    weights = prod(query[:-1]) * key[-2]
    return Cost(multiply_adds=weights * (query[-1] + value[-1]))


def _set_convention(analyser: FlopAnalyzer, convention: str) -> None:
    if convention == 'linear':
        analyser.clear_op_handles().set_op_handle(
            **{
                'aten::linear': linear_flop_jit,
                'aten::_convolution': conv_flop_jit,
            }
        )
        return
    costs = COSTS if convention == 'mmfft' else _PUBLISHED_COSTS
    # mmengine's analyser has the products of attention only one by one.
    handles = {'aten::scaled_dot_product_attention': _handle(_attention)}
    for name, cost in costs.items():
        handles[f'mmfft::{name}'] = _handle(cost)
    analyser.set_op_handle(**handles)


class Complexity(NamedTuple):
    """What :func:`count_flops` finds.

    Attributes:
        flops (int): Total number of FLOPs.
        params (int): Number of parameters.
        by_operator (dict[str, int]): FLOPs of each kind of operator.
        table (str): Table of both by module, as mmengine prints it.
    """

    flops: int
    params: int
    by_operator: dict[str, int]
    table: str


def count_flops(
    model: nn.Module,
    *inputs: Any,
    depth: int = 3,
    convention: str = 'mmfft',
) -> Complexity:
    """Count parameters and FLOPs with mmengine's analyser.

    The analyser counts a multiplication with an addition as one FLOP and
    omits biases and element-wise operations, except for norms and pooling.
    Filters are cached once they have been brought to the grid of an input, so
    their resizing is not counted. The conventions differ in what else they
    count:

    - ``'mmfft'``: the spectral filters and AFNO's transforms, by the costs
      that PyTorch's counter also has (:mod:`mmfft.ops.flops`), with each
      operation of a transform as one FLOP;
    - ``'gfnet'``: the transforms only, not the product with the filter. As in
      the `script <https://github.com/raoyongming/HorNet/blob/master/
      calc_flops.py>`_ of GFNet's authors, ``N`` points take ``N log2 N``
      FLOPs in each channel with the logarithm rounded up. The inverse
      transform has as many points as the half spectrum;
    - ``'linear'``: nothing else, and neither norms nor pooling. Only linear
      layers and convolutions are counted.

    Args:
        model (nn.Module): Model in evaluation mode.
        *inputs: Arguments of its ``forward``.
        depth (int): Levels of modules in the table. Defaults to 3.
        convention (str): One of ``'mmfft'``, ``'gfnet'``, ``'linear'``.
            Defaults to ``'mmfft'``.

    Returns:
        Complexity: Figures of one call.

    Raises:
        ConfigError: If there is no such convention.
    """
    require_one_of('convention', convention, CONVENTIONS)
    analyser = FlopAnalyzer(model, inputs)
    _set_convention(analyser, convention)
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
    cfg: Config,
    shape: Sequence[int] | None = None,
    depth: int = 3,
    convention: str = 'mmfft',
) -> tuple[tuple[int, int], Complexity]:
    """Count parameters and FLOPs of a config's whole model for one image.

    Counted by :func:`count_flops` are a classifier up to its logits, a
    segmentor up to its logits before they are enlarged, and a detector up to
    the outputs of its heads before boxes are decoded. A two-stage detector
    runs on the proposals that its random weights produce, of which there are
    at most as many as the config allows.

    Args:
        cfg (Config): Config of mmpretrain, mmdet or mmseg.
        shape (Sequence[int], optional): ``(H, W)`` of the image or one number
            for both. Defaults to the ``img_size`` of the backbone, which only
            those with stored filters have.
        depth (int): Levels of modules in the table. Defaults to 3.
        convention (str): What is counted, see :func:`count_flops`. Defaults
            to ``'mmfft'``.

    Returns:
        tuple[tuple[int, int], Complexity]: ``(H, W)``, and the figures.

    Raises:
        ConfigError: If there is no such convention, the shape is not one or
            two positive numbers, the config is for another toolbox, or its
            model has neither a backbone nor a model of timm inside.
    """
    require_one_of('convention', convention, CONVENTIONS)
    scope = choose_by_scope(cfg, {name: name for name in TOOLBOXES})
    model = build_model(cfg)
    backbone = _backbone_of(model)
    size = _image_size(backbone, shape)
    if scope == 'mmdet':
        model.forward = partial(model.forward, data_samples=[_sample(size)])
    elif scope == 'mmseg':
        model.auxiliary_head = None  # only for training
    image = torch.zeros(1, image_channels(backbone), *size)
    return size, count_flops(model, image, depth=depth, convention=convention)


def _backbone_of(model: nn.Module) -> nn.Module:
    # mmpretrain's TimmClassifier has a whole model of timm inside.
    for name in ('backbone', 'model'):
        if isinstance(getattr(model, name, None), nn.Module):
            return getattr(model, name)
    raise ConfigError(
        f'{type(model).__name__} has no backbone: FLOPs are counted of '
        'classifiers, detectors and segmentors that have one, and of '
        'TimmClassifier'
    )


def _image_size(
    backbone: nn.Module, shape: Sequence[int] | None
) -> tuple[int, int]:
    if shape is None:
        if not hasattr(backbone, 'img_size'):
            raise ConfigError(
                f'{type(backbone).__name__} has no img_size: choose an '
                'image size with --shape'
            )
        shape = backbone.img_size
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
