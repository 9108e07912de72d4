# Copyright (c) mmfft authors. All rights reserved.
"""Whether the parts of a model take what they are given."""

from collections.abc import Iterator, Sequence

from mmengine.config import Config
from mmengine.model import ImgDataPreprocessor
from torch import nn

from ...models import FourierBackbone
from ...openmmlab.scopes import class_name
from ..features import Part, unused_outputs
from .settings import Disagreement, is_list, key_of


def channels(cfg, parts, model) -> list[Disagreement]:
    """``in_index`` and ``in_channels`` of parts that could not be run."""
    failed = [part for part in parts if part.error]
    return (
        [d for part in failed for d in _index(part, model)]
        or [d for part in failed for d in _width(cfg, part, model)]
    )  # fmt: skip


def _source(part: Part, model: nn.Module) -> str:
    """What a part takes its features from."""
    if part.name != 'neck' and getattr(model, 'neck', None) is not None:
        return 'model.neck'
    indices = getattr(model.backbone, 'out_indices', None)
    known = '' if indices is None else f' (out_indices={tuple(indices)})'
    return f'model.backbone{known}'


def _index(part: Part, model: nn.Module) -> Iterator[Disagreement]:
    index = getattr(part.module, 'in_index', None)
    count = len(part.inputs)
    for i in index if is_list(index) else [index]:
        if isinstance(i, int) and not -count <= i < count:
            yield Disagreement(
                f'{key_of(part.name)}.in_index',
                f'{index} asks for output {i}, but {_source(part, model)} has '
                f'{count}, counted from 0',
            )
            return


def _width(cfg, part: Part, model: nn.Module) -> Iterator[Disagreement]:
    settings = cfg.model.get(part.name)
    given = (settings if isinstance(settings, dict) else {}).get(
        'in_channels', getattr(part.module, 'in_channels', None)
    )
    given = list(given) if is_list(given) else given
    expected = part.expected
    if given is None or expected is None or given == expected:
        return
    fix = f'set in_channels={expected}'
    levels = getattr(model.backbone, 'out_indices', None)
    if is_list(given) and part.name == 'neck' and levels is not None:
        some = [i for i, width in zip(levels, expected) if width in given]
        if [w for w in expected if w in given] == given:
            fix += f' or backbone.out_indices={tuple(some)}'
    yield Disagreement(
        f'{key_of(part.name)}.in_channels',
        f'{given} does not fit {_source(part, model)}, whose outputs have '
        f'{expected} channels: {fix}',
    )


def image_channels(model) -> Iterator[Disagreement]:
    """The ``mean`` that is subtracted has a value for each channel."""
    mean = getattr(getattr(model, 'data_preprocessor', None), 'mean', None)
    backbone = getattr(model, 'backbone', None)
    if mean is None or not isinstance(backbone, FourierBackbone):
        return
    channels = backbone.in_channels
    if mean.numel() not in (1, channels):
        fix = f'give mean and std {channels} values each'
        if isinstance(model.data_preprocessor, ImgDataPreprocessor):
            fix = (
                'set mean=None and std=None there, which mmengine takes for 1 '
                "or 3 channels only, and put dict(type='Normalize', mean=..., "
                f'std=..., to_rgb=False) with {channels} values each into '
                'the pipelines, after the step that loads the image'
            )
        yield Disagreement(
            'data_preprocessor.mean',
            f'has {mean.numel()} values, but model.backbone.in_channels is '
            f'{channels}: {fix}',
        )


def idle_weights(cfg, model, outs, parts) -> Iterator[Disagreement]:
    """Outputs that nothing uses stop several processes at the second step."""
    if cfg.get('launcher', 'none') == 'none' or _may_be_idle(cfg):
        return
    source, unused = unused_outputs(model, outs, parts)
    if not unused:
        return
    how = 'find_unused_parameters=True'
    if source == 'backbone' and hasattr(model.backbone, 'out_indices'):
        levels = model.backbone.out_indices
        keep = [i for i in range(len(levels)) if i not in unused]
        indices = tuple(levels[i] for i in keep)
        where = 'model.backbone.out_indices'
        value = f'{tuple(levels)}: '
        how = f'set out_indices={indices}' + ''.join(
            f', {change}' for change in _follow(parts, keep)
        )
        how += '; or find_unused_parameters=True, which is slower'
    else:
        where, value = f'model.{source}', ''
    yield Disagreement(
        where,
        f'{value}nothing uses output {", ".join(map(str, unused))} (counted '
        'from 0), whose weights get no gradient, which stops '
        f'DistributedDataParallel: {how}',
    )


def _may_be_idle(cfg: Config) -> bool:
    """Whether nothing in the run minds weights without a gradient."""
    strategy = class_name(cfg.get('strategy') or dict(type='DDPStrategy'))
    wrapper = cfg.get('model_wrapper_cfg')
    if wrapper is None:
        wrapper = (cfg.get('strategy') or {}).get('model_wrapper')
    if wrapper is None:
        wrapper = dict(
            type='MMDistributedDataParallel',
            find_unused_parameters=cfg.get('find_unused_parameters', False),
        )
    return (
        strategy != 'DDPStrategy'
        or not class_name(wrapper).endswith('DistributedDataParallel')
        or bool(wrapper.get('find_unused_parameters'))
        or bool(wrapper.get('static_graph'))
    )


def _follow(parts: Sequence[Part], keep: list[int]) -> Iterator[str]:
    """Settings that change if only some outputs of the backbone are left."""
    first = parts[0]
    if first.name == 'neck':
        if is_list(getattr(first.module, 'in_channels', None)):
            yield f'neck.in_channels={[first.expected[i] for i in keep]}'
        start = getattr(first.module, 'start_level', 0)
        if start:
            yield f'neck.start_level={sum(i < start for i in keep)}'
        return
    for part in parts:
        index = getattr(part.module, 'in_index', None)
        if is_list(index):
            index = list(index)
            new = [keep.index(i % len(part.inputs)) for i in index]
        elif isinstance(index, int) and index >= 0:
            new = keep.index(index)
        else:
            continue
        if new != index:
            yield f'{part.name}.in_index={new}'
