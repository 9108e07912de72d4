# Copyright (c) mmfft authors. All rights reserved.
"""Parameters and FLOPs of a model, including its Fourier transforms."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from mmengine.analysis import FlopAnalyzer, parameter_count
from mmengine.analysis.print_helper import complexity_stats_table
from mmengine.config import Config
from torch import nn

from ..engine import build_model, image_channels
from ..errors import ConfigError
from ..openmmlab.scopes import TOOLBOXES, choose_by_scope
from ..ops.flops import COSTS, Cost


def _shape(value: torch._C.Value) -> tuple[int, ...] | None:
    is_tensor = isinstance(value.type(), torch._C.TensorType)
    return tuple(value.type().sizes()) if is_tensor else None


def _handle(cost: Callable[..., Cost]) -> Callable[[list, list], float]:
    """Function that FlopAnalyzer calls with the values of a node."""

    def handle(inputs: list, outputs: list) -> float:
        shapes = map(_shape, inputs)
        return sum(cost(*shapes, out_shape=_shape(outputs[0])))

    return handle


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


def count_flops(model: nn.Module, *inputs: Any, depth: int = 3) -> Complexity:
    """Count parameters and FLOPs with mmengine's analyser.

    The analyser counts a multiplication with an addition as one FLOP and
    omits element-wise operations, except for norms. In addition the spectral
    filters and AFNO's transforms are counted, by the costs that PyTorch's
    counter also has (:mod:`mmfft.ops.flops`), with each operation of a
    transform as one FLOP. Filters are cached once they have been brought to
    the grid of an input, so their resizing is not counted.

    Args:
        model (nn.Module): Model in evaluation mode.
        *inputs: Arguments of its ``forward``.
        depth (int): Levels of modules in the table. Defaults to 3.

    Returns:
        Complexity: Figures of one call.
    """
    handles = {f'mmfft::{name}': _handle(cost) for name, cost in COSTS.items()}
    analyser = FlopAnalyzer(model, inputs).set_op_handle(**handles)
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

    Returns:
        tuple[tuple[int, int], Complexity]: ``(H, W)``, and the figures.

    Raises:
        ConfigError: If the shape is not one or two positive numbers, the
            config is for another toolbox, or its model has no backbone.
    """
    scope = choose_by_scope(cfg, {name: name for name in TOOLBOXES})
    model = build_model(cfg)
    size = _image_size(model, shape)
    if scope == 'mmdet':
        model.forward = partial(model.forward, data_samples=[_sample(size)])
    elif scope == 'mmseg':
        model.auxiliary_head = None  # only for training
    image = torch.zeros(1, image_channels(model.backbone), *size)
    return size, count_flops(model, image, depth=depth)


def _image_size(
    model: nn.Module, shape: Sequence[int] | None
) -> tuple[int, int]:
    if not hasattr(model, 'backbone'):
        raise ConfigError(
            f'{type(model).__name__} has no backbone: FLOPs are counted of '
            'classifiers, detectors and segmentors that have one'
        )
    if shape is None:
        if not hasattr(model.backbone, 'img_size'):
            raise ConfigError(
                f'{type(model.backbone).__name__} has no img_size: choose an '
                'image size with --shape'
            )
        shape = model.backbone.img_size
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
