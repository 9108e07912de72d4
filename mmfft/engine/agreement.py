# Copyright (c) mmfft authors. All rights reserved.
"""Whether a config agrees with itself, before a run starts.

Its classes, labels, metrics and channels are named in several places. What
does not fit ends a run after an epoch, or trains and measures something else.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.fileio import exists, load
from mmengine.logging import print_log
from mmengine.registry import DATASETS, init_default_scope
from torch import nn

from ..datasets.paths import data_paths, leaf_datasets
from ..errors import ConfigError
from .features import Part, build_on_meta, run_parts, unused_outputs
from .quiet import quiet


class Disagreement(NamedTuple):
    """Two places of a config that do not fit each other.

    Args:
        where (str): Name of the setting that should change.
        what (str): Its value, what it does not fit, and what would be right.
        certain (bool): Whether the run would fail or be wrong. Otherwise it
            may be meant so. Defaults to True.
    """

    where: str
    what: str
    certain: bool = True


class Data(NamedTuple):
    """One data set of a split, as far as it is known without its files.

    Args:
        where (str): Name of the data set in the config.
        cfg (dict): Config of the data set.
        dataset (Any): Data set that has not read its annotations.
        classes (tuple[str], optional): Names of the classes.
    """

    where: str
    cfg: dict
    dataset: Any
    classes: tuple[str, ...] | None

    @property
    def has_own_classes(self) -> bool:
        """Whether the config leaves the classes to the data set's class."""
        metainfo = self.cfg.get('metainfo') or {}
        return 'classes' not in metainfo and not self.cfg.get('classes')


def check_agreement(cfg: Config) -> None:
    """Check before training that a config agrees with itself.

    What may be meant so is only logged.

    Args:
        cfg (Config): Config from :func:`load_config`.

    Raises:
        ConfigError: If settings cannot work together; one line for each.
    """
    found = find_disagreements(cfg, ('train', 'val'))
    for where, what, certain in found:
        if not certain:
            print_log(f'{where}: {what}', 'current', level=logging.WARNING)
    wrong = [f'{where}: {what}' for where, what, certain in found if certain]
    if wrong:
        raise ConfigError('\n  '.join(wrong))


def find_disagreements(
    cfg: Config, splits: Sequence[str] = ('train', 'val', 'test')
) -> list[Disagreement]:
    """Find settings of a config that do not fit each other.

    The model is built without memory for its weights, and the data sets
    without their annotations.

    Args:
        cfg (Config): Config of any toolbox; what belongs to mmpretrain, mmdet
            and mmseg is known.
        splits (Sequence[str]): Splits that will be used.

    Returns:
        list[Disagreement]: What does not fit.
    """
    if 'model' not in cfg:
        return []
    scope = cfg.get('default_scope')
    init_default_scope(scope or 'mmengine')
    found = list(_old_mixup(cfg))
    model = build_on_meta(cfg)
    if model is None:
        return found
    outs, parts = run_parts(model)
    found += _channels(cfg, parts, model)
    found += _idle_weights(cfg, model, outs, parts)
    data = {split: list(_data(cfg, split)) for split in splits}
    for one in (one for datasets in data.values() for one in datasets):
        found += _class_names(one)
    if not any('classes' in d.where for d in found):
        if scope in _TOOLBOXES:
            found += _TOOLBOXES[scope](cfg, model, parts, data)
        found += _same_order(data)
    return list(dict.fromkeys(found))


# --------------------------------------------------------------------- parts


def _key(module_name: str) -> str:
    """Name of a module as the config writes it."""
    return 'model' + ''.join(
        f'[{part}]' if part.isdecimal() else f'.{part}'
        for part in module_name.split('.')
    )


def _channels(cfg, parts, model) -> list[Disagreement]:
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
    for i in index if _is_list(index) else [index]:
        if isinstance(i, int) and not -count <= i < count:
            yield Disagreement(
                f'{_key(part.name)}.in_index',
                f'{index} asks for output {i}, but {_source(part, model)} has '
                f'{count}, counted from 0',
            )
            return


def _width(cfg, part: Part, model: nn.Module) -> Iterator[Disagreement]:
    settings = cfg.model.get(part.name)
    given = (settings if isinstance(settings, dict) else {}).get(
        'in_channels', getattr(part.module, 'in_channels', None)
    )
    given = list(given) if _is_list(given) else given
    expected = part.expected
    if given is None or expected is None or given == expected:
        return
    fix = f'set in_channels={expected}'
    levels = getattr(model.backbone, 'out_indices', None)
    if _is_list(given) and part.name == 'neck' and levels is not None:
        some = [i for i, width in zip(levels, expected) if width in given]
        if [w for w in expected if w in given] == given:
            fix += f' or backbone.out_indices={tuple(some)}'
    yield Disagreement(
        f'{_key(part.name)}.in_channels',
        f'{given} does not fit {_source(part, model)}, whose outputs have '
        f'{expected} channels: {fix}',
    )


def _idle_weights(cfg, model, outs, parts) -> Iterator[Disagreement]:
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
    strategy = _type_of(cfg.get('strategy') or dict(type='DDPStrategy'))
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
        or not _type_of(wrapper).endswith('DistributedDataParallel')
        or bool(wrapper.get('find_unused_parameters'))
        or bool(wrapper.get('static_graph'))
    )


def _follow(parts: Sequence[Part], keep: list[int]) -> Iterator[str]:
    """Settings that change if only some outputs of the backbone are left."""
    first = parts[0]
    if first.name == 'neck':
        if _is_list(getattr(first.module, 'in_channels', None)):
            yield f'neck.in_channels={[first.expected[i] for i in keep]}'
        start = getattr(first.module, 'start_level', 0)
        if start:
            yield f'neck.start_level={sum(i < start for i in keep)}'
        return
    for part in parts:
        index = getattr(part.module, 'in_index', None)
        if _is_list(index):
            index = list(index)
            new = [keep.index(i % len(part.inputs)) for i in index]
        elif isinstance(index, int) and index >= 0:
            new = keep.index(index)
        else:
            continue
        if new != index:
            yield f'{part.name}.in_index={new}'


def _type_of(cfg: dict) -> str:
    """Name of a class, without its scope."""
    type_ = cfg.get('type')
    name = type_ if isinstance(type_, str) else getattr(type_, '__name__', '')
    return name.rpartition('.')[2]


# ---------------------------------------------------------------------- data


def _data(cfg: Config, split: str) -> Iterator[Data]:
    """Data sets of a split, without those that cannot be built like this."""
    loader = cfg.get(f'{split}_dataloader')
    if not isinstance(loader, dict) or not isinstance(
        loader.get('dataset'), dict
    ):
        return
    leaves = list(leaf_datasets(loader['dataset']))
    for i, leaf in enumerate(leaves):
        number = f' {i}' if len(leaves) > 1 else ''
        where = f'{split}_dataloader.dataset{number}'
        try:
            with quiet():
                dataset = DATASETS.build(
                    {**leaf, 'lazy_init': True, 'pipeline': []}
                )
        # Some read files at once, others have no such arguments.
        except Exception:
            continue
        classes = (getattr(dataset, 'metainfo', None) or {}).get('classes')
        if isinstance(classes, list):
            classes = tuple(classes)
        yield Data(where, leaf, dataset, classes)


def _class_names(data: Data) -> Iterator[Disagreement]:
    classes = data.classes
    if isinstance(classes, str):
        yield Disagreement(
            f'{data.where}.metainfo.classes',
            f'{classes!r} is a text or the path of a file that does not '
            f'exist; write one class as ({classes!r},)',
        )
    elif classes is not None and not data.has_own_classes:
        twice = sorted({n for n in classes if classes.count(n) > 1}, key=str)
        if twice:
            yield Disagreement(
                f'{data.where}.metainfo.classes',
                f'has {twice} more than once',
                certain=False,
            )


def _same_order(data: dict[str, list[Data]]) -> Iterator[Disagreement]:
    """The number of a class is its place in the list."""
    for train in data.get('train', []):
        for split in ('val', 'test'):
            for other in data.get(split, []):
                ours, theirs = train.classes, other.classes
                if not ours or not theirs or ours == theirs:
                    continue
                if set(ours) == set(theirs):
                    i = [a != b for a, b in zip(ours, theirs)].index(True)
                    yield Disagreement(
                        f'{other.where}.metainfo.classes',
                        'has the classes of '
                        f'{train.where} in another order: class {i} is '
                        f'{theirs[i]!r} instead of {ours[i]!r}',
                    )
                elif len(ours) == len(theirs):
                    i = [a != b for a, b in zip(ours, theirs)].index(True)
                    yield Disagreement(
                        f'{other.where}.metainfo.classes',
                        f'class {i} is {theirs[i]!r}, but in {train.where} '
                        f'{ours[i]!r}',
                        certain=False,
                    )


def _some(classes: Sequence) -> str:
    more = ', ...' if len(classes) > 3 else ''
    return ', '.join(repr(name) for name in classes[:3]) + more


def _evaluators(cfg: Config, data: dict) -> Iterator[tuple[str, dict]]:
    for split in data:
        evaluator = cfg.get(f'{split}_evaluator')
        metrics = evaluator
        if isinstance(evaluator, dict) and 'metrics' in evaluator:
            metrics = evaluator['metrics']
        many = isinstance(metrics, (list, tuple))
        for i, metric in enumerate(metrics if many else [metrics]):
            if isinstance(metric, dict):
                number = f'[{i}]' if many and len(metrics) > 1 else ''
                yield f'{split}_evaluator{number}', metric


def _with_different_classes(data: dict[str, list[Data]]) -> list[Data]:
    """Data sets of training and validation, one of those that are alike."""
    found: dict[tuple | None, Data] = {}
    for one in (*data.get('train', []), *data.get('val', [])):
        found.setdefault(one.classes, one)
    return list(found.values())


def _against_data(
    where: str, count: int, data: Data, more_is_certain: bool
) -> Iterator[Disagreement]:
    """``num_classes`` of a head against the classes of a data set."""
    classes = data.classes
    if classes is None or count == len(classes):
        return
    name = type(data.dataset).__name__
    if data.has_own_classes and type(data.dataset).METAINFO.get('classes'):
        what = (
            f'{count}, but {data.where} has no metainfo and so the '
            f'{len(classes)} classes of {name} itself: give it '
            f'metainfo=dict(classes=(...)) with the names of your {count}, or '
            f'set num_classes={len(classes)}'
        )
    else:
        what = (
            f'{count}, but {data.where} has {len(classes)} classes '
            f'({_some(classes)}): set num_classes={len(classes)}'
        )
    yield Disagreement(
        where, what, certain=count < len(classes) or more_is_certain
    )


# ---------------------------------------------------------------- mmpretrain


def _old_mixup(cfg: Config) -> Iterator[Disagreement]:
    train_cfg = cfg.model.get('train_cfg') or {}
    augments = train_cfg.get('augments') or []
    for augment in augments if isinstance(augments, list) else [augments]:
        if isinstance(augment, dict) and 'num_classes' in augment:
            yield Disagreement(
                'model.train_cfg.augments',
                f'{_type_of(augment)} takes no num_classes='
                f'{augment["num_classes"]} (mmpretrain before 1.0): the '
                'number of classes is data_preprocessor.num_classes',
            )


def _classification(cfg, model, parts, data) -> Iterator[Disagreement]:
    head = getattr(model, 'head', None)
    if not isinstance(head, nn.Module):
        return
    count = getattr(head, 'num_classes', cfg.model.head.get('num_classes'))
    output = next((p.output for p in parts if p.name == 'head'), None)
    if hasattr(output, 'shape') and output.dim() == 2:
        count = output.shape[1]
    if not isinstance(count, int):
        return
    wrong = []
    for one in data.get('train', []):
        one = one._replace(classes=one.classes or _folders(one.dataset))
        wrong += _against_data('model.head.num_classes', count, one, False)
    yield from wrong
    for one in data.get('val', []):
        for found in _against_data(
            'model.head.num_classes', count, one, False
        ):
            # Not an error for the metric, only never right.
            yield found._replace(certain=False)
    if not wrong:
        yield from _one_hot(model, head, count, data)
    for where, metric in _evaluators(cfg, data):
        topk = metric.get('topk')
        largest = max(topk, default=0) if _is_list(topk) else topk
        if isinstance(largest, int) and largest > count:
            yield Disagreement(
                f'{where}.topk',
                f'{topk} of only {count} classes: set topk=(1,)'
                + (' or smaller numbers' if count > 2 else ''),
            )
    for name, module in head.named_modules():
        where = _key(f'head.{name}'.rstrip('.')).replace('loss_module', 'loss')
        other = getattr(module, 'num_classes', None)
        if name and isinstance(other, int) and other != count:
            yield Disagreement(
                f'{where}.num_classes',
                f'{other}, but the head has {count}: set num_classes={count}',
            )
        yield from _class_weight(where, module, count)


def _folders(dataset) -> tuple[str, ...] | None:
    """Classes of a data set whose annotations are the names of folders."""
    if getattr(dataset, 'ann_file', None) or not getattr(
        dataset, 'with_label', False
    ):
        return None
    folder = getattr(dataset, 'img_prefix', None)
    if not isinstance(folder, str) or not os.path.isdir(folder):
        return None
    return tuple(sorted(e.name for e in os.scandir(folder) if e.is_dir()))


def _one_hot(model, head, count, data) -> Iterator[Disagreement]:
    """Mixup and CutMix mix labels in a form that has the number of classes."""
    preprocessor = getattr(model, 'data_preprocessor', None)
    if not hasattr(preprocessor, 'to_onehot'):
        return
    where = 'data_preprocessor.num_classes'
    other = preprocessor.num_classes
    one_hot = preprocessor.to_onehot
    why = 'Mixup, CutMix and other batch augments need it'
    if one_hot and other is None and not _packs_num_classes(data):
        yield Disagreement(
            where, f'is not set, but {why}: set num_classes={count}'
        )
    elif other is not None and other != count:
        yield Disagreement(
            where,
            f'{other}, but the head has {count} classes'
            + (f', and {why}' if one_hot else '')
            + f': set num_classes={count}',
            certain=one_hot,
        )
    if getattr(head, 'cal_acc', False):
        largest = max(head.topk) if _is_list(head.topk) else head.topk
        if largest > count:
            yield Disagreement(
                'model.head.topk',
                f'{head.topk} of only {count} classes: set topk=(1,)',
            )
        if getattr(preprocessor, 'batch_augments', None) is not None:
            yield Disagreement(
                'model.head.cal_acc',
                'True, but mixed images have no label to be right about: set '
                'cal_acc=False, or leave out the batch augments',
            )


def _packs_num_classes(data) -> bool:
    return any(
        'num_classes' in (step.get('meta_keys') or ())
        for one in data.get('train', [])
        for step in _steps(one.cfg)
    )


def _is_list(value) -> bool:
    return isinstance(value, (list, tuple))


def _steps(dataset_cfg: dict) -> Iterator[dict]:
    """Transforms of a pipeline, also of those that hold others."""

    def walk(steps):
        for step in steps if _is_list(steps) else [steps]:
            if _is_list(step):
                yield from walk(step)
            elif isinstance(step, dict):
                yield step
                yield from walk(step.get('transforms') or [])

    yield from walk(dataset_cfg.get('pipeline') or [])


def _class_weight(where, module, count) -> Iterator[Disagreement]:
    weight = getattr(module, 'class_weight', None)
    if _is_list(weight) and len(weight) != count:
        yield Disagreement(
            f'{where}.class_weight',
            f'has {len(weight)} weights for {count} classes',
        )


# --------------------------------------------------------------------- mmdet


def _detection(cfg, model, parts, data) -> Iterator[Disagreement]:
    if not hasattr(model, 'language_model'):
        for name, module in model.named_modules():
            count = getattr(module, 'num_classes', None)
            if not isinstance(count, int) or not _predicts_classes(name):
                continue
            where = f'{_key(name)}.num_classes'
            for one in _with_different_classes(data):
                if 'thing_classes' in (one.dataset.metainfo or {}):
                    continue  # panoptic: some heads have only things
                yield from _against_data(where, count, one, True)
    for split in set(data) - {'train'}:
        for where, metric in _evaluators(cfg, {split: data[split]}):
            if len(data[split]) == 1:
                yield from _truth(where, metric, data[split][0])


def _predicts_classes(name: str) -> bool:
    """Whether a module's ``num_classes`` must be that of the data."""
    parts = name.split('.')
    return (
        # The toolbox's own NumClassCheckHook leaves these out, too: one only
        # tells objects from background, another has classes of "stuff".
        parts[-1] not in ('', 'rpn_head', 'semantic_head')
        and not {'backbone', 'reid', 'data_preprocessor'} & set(parts)
        and any(part.endswith('head') for part in parts)
    )


def _truth(where: str, metric: dict, data: Data) -> Iterator[Disagreement]:
    """The file that predictions are compared with is that of the images."""
    theirs = metric.get('ann_file')
    ours = dict(data_paths(data.cfg)).get('ann_file')
    paths = [theirs, ours]
    if not all(isinstance(p, str) and p.endswith('.json') for p in paths):
        return
    if os.path.realpath(theirs) == os.path.realpath(ours):
        return
    if not all('://' not in p and exists(p) for p in paths):
        return
    # Another file may describe the same images.
    measured, read = (
        {image['id'] for image in load(p).get('images', [])} for p in paths
    )
    if measured != read:
        yield Disagreement(
            f'{where}.ann_file',
            f'{theirs!r} has {len(measured)} images, of which '
            f'{len(measured & read)} are among the {len(read)} of '
            f'{data.where}.ann_file {ours!r}: set it to {ours!r}',
        )


# --------------------------------------------------------------------- mmseg


def _segmentation(cfg, model, parts, data) -> Iterator[Disagreement]:
    heads = list(_segmentation_heads(model))
    splits = (*data.get('train', []), *data.get('val', []))
    for name, head in heads:
        where = _key(name)
        binary = head.out_channels == 1
        for one in _with_different_classes(data):
            if binary and one.classes is not None and len(one.classes) == 2:
                continue
            yield from _against_data(
                f'{where}.num_classes', head.num_classes, one, False
            )
        losses = head.loss_decode
        for loss in losses if isinstance(losses, nn.ModuleList) else [losses]:
            yield from _segmentation_loss(where, head, loss)
        yield from _ignored(cfg, model, where, head, data)
    for one in splits:
        yield from _zero_label(one)
        if one.classes is not None and len(one.classes) == 1 and heads:
            yield Disagreement(
                f'{one.where}.metainfo.classes',
                f'has only {one.classes[0]!r}, from which nothing is to be '
                'told: background is a class of its own, '
                f"classes=('background', {one.classes[0]!r}) with "
                'num_classes=2',
            )
    for train in data.get('train', []):
        for val in data.get('val', []):
            values = [
                getattr(d.dataset, 'reduce_zero_label', None)
                for d in (train, val)
            ]
            if None not in values and values[0] != values[1]:
                yield Disagreement(
                    f'{val.where}.reduce_zero_label',
                    f'{values[1]}, but {train.where} has {values[0]}: the '
                    'labels differ by one',
                )
    for one in data.get('val', []):
        if one.classes is None:
            yield Disagreement(
                f'{one.where}.metainfo',
                'has no classes, without which validation cannot be '
                'evaluated: set metainfo=dict(classes=(...), palette=[...])',
            )


def _segmentation_heads(model) -> Iterator[tuple[str, nn.Module]]:
    for name, module in model.named_modules():
        if (
            name.startswith(('decode_head', 'auxiliary_head'))
            and name.count('.') < 2
            and hasattr(module, 'loss_decode')
            and isinstance(getattr(module, 'num_classes', None), int)
            # It learns edges, not the classes.
            and type(module).__name__ != 'STDCHead'
        ):
            yield name, module


def _segmentation_loss(where, head, loss) -> Iterator[Disagreement]:
    yield from _class_weight(f'{where}.loss_decode', loss, head.out_channels)
    softmax = getattr(loss, 'use_sigmoid', None) is False
    is_cross_entropy = type(loss).__name__ == 'CrossEntropyLoss'
    if head.out_channels == 1 and softmax and is_cross_entropy:
        yield Disagreement(
            f'{where}.loss_decode.use_sigmoid',
            'False, but the softmax of a single channel (out_channels=1 or '
            'num_classes=1) is always 1: set use_sigmoid=True and '
            'num_classes=2',
        )
    ignored = getattr(loss, 'ignore_index', None)
    if isinstance(ignored, int) and ignored != head.ignore_index:
        yield Disagreement(
            f'{where}.loss_decode.ignore_index',
            f'{ignored}, but the head ignores {head.ignore_index}',
            certain=False,
        )


def _ignored(cfg, model, where, head, data) -> Iterator[Disagreement]:
    """The label that is left out must be the same one everywhere."""
    ours = head.ignore_index
    where = f'{where}.ignore_index'
    for key, metric in _evaluators(cfg, data):
        if _type_of(metric) != 'IoUMetric':
            continue
        theirs = metric.get('ignore_index', 255)
        if theirs == ours:
            continue
        # A class may be left out of the mean on purpose, but not be counted
        # where it was never learnt.
        yield Disagreement(
            f'{key}.ignore_index',
            f'{theirs}, but {where} is {ours}: set both to the label that is '
            'to be left out',
            certain=not 0 <= theirs < head.num_classes,
        )
    for one in (*data.get('train', []), *data.get('val', [])):
        theirs = one.cfg.get('ignore_index', ours)
        if theirs != ours:
            yield Disagreement(
                where,
                f'{ours}, but {one.where} ignores {theirs}: set '
                f'ignore_index={theirs} of the head and of the evaluator',
            )
        if getattr(one.dataset, 'reduce_zero_label', False) and ours != 255:
            yield Disagreement(
                where,
                f'{ours}, but reduce_zero_label=True of {one.where} makes '
                'label 0 to 255: set ignore_index=255',
            )
    padded = getattr(model.data_preprocessor, 'seg_pad_val', ours)
    if padded != ours:
        yield Disagreement(
            'model.data_preprocessor.seg_pad_val',
            f'{padded}, but {where} is {ours}: what is added to images of '
            f'other sizes would be learnt; set seg_pad_val={ours}',
            certain=False,
        )


def _zero_label(data: Data) -> Iterator[Disagreement]:
    reduced = getattr(data.dataset, 'reduce_zero_label', None)
    if reduced is None:
        return
    for step in _steps(data.cfg):
        loads = _type_of(step) == 'LoadAnnotations'
        theirs = step.get('reduce_zero_label') if loads else None
        if theirs is not None and theirs != reduced:
            yield Disagreement(
                f'{data.where}.reduce_zero_label',
                f'{reduced}, but LoadAnnotations of its pipeline has '
                f'{theirs}: set it at the data set only',
            )
    names = data.classes or ('',)
    if reduced and str(names[0]).lower() in (
        'background',
        'bg',
        '_background_',
    ):
        yield Disagreement(
            f'{data.where}.reduce_zero_label',
            f'True ignores label 0 and makes label 1 the class {names[0]!r}: '
            'set reduce_zero_label=False if label 0 is the background',
            certain=False,
        )


_TOOLBOXES = dict(
    mmpretrain=_classification, mmdet=_detection, mmseg=_segmentation
)
