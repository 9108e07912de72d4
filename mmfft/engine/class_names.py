# Copyright (c) mmfft authors. All rights reserved.
"""Names and colours of the classes that a model was trained on."""

from collections.abc import Iterator, Mapping

from mmengine.config import Config
from mmengine.registry import DATASETS

from ..errors import ConfigError
from ..openmmlab.scopes import class_of, leaf_datasets

Palette = tuple[tuple[int, int, int], ...]


def class_names(
    cfg: Config, checkpoint_meta: dict
) -> tuple[tuple[str, ...], Palette | None]:
    """Find the names and colours of the classes of a trained model.

    What the training wrote into the checkpoint is right even if the config's
    data set was changed since. A checkpoint that was converted tells nothing;
    then they are those of the config's test data set. The inferencers of the
    toolboxes would name the classes of COCO or Cityscapes, whatever the model
    was trained on.

    Args:
        cfg (Config): Config of mmpretrain, mmdet or mmseg.
        checkpoint_meta (dict): What :func:`load_weights` returns.

    Returns:
        tuple[tuple[str, ...], Palette | None]: Names, which are numbers if
        nothing tells them; and an RGB colour for each, or None if nothing
        tells all of them.

    Raises:
        ConfigError: If nothing tells how many classes there are.
    """
    count = next(_numbers(cfg.model), None)
    told = checkpoint_meta.get('dataset_meta') or checkpoint_meta
    for meta in (told, _of_test_data(cfg)):
        lower = {str(key).lower(): meta[key] for key in meta}
        classes = lower.get('classes')
        if not classes or isinstance(classes, str):
            continue
        # A class of data sets has its own, which may not be this model's.
        if meta is told or count in (None, len(classes)):
            return tuple(map(str, classes)), _palette(lower, len(classes))
    if count is None:
        raise ConfigError(
            'neither the checkpoint nor the test data set tells the classes, '
            "and no part of the config's model has num_classes"
        )
    return tuple(map(str, range(count))), None


def _of_test_data(cfg: Config) -> Mapping:
    loader = cfg.get('test_dataloader')
    if not loader:
        return {}
    leaf = next(leaf_datasets(loader.dataset))
    own = leaf.get('metainfo')
    known = getattr(class_of(DATASETS, leaf, cfg), 'METAINFO', {})
    return {**known, **(own if isinstance(own, Mapping) else {})}


def _palette(meta: Mapping, count: int) -> Palette | None:
    palette = meta.get('palette')
    # mmdet writes 'random' where there is none.
    if not palette or isinstance(palette, str) or len(palette) < count:
        return None
    return tuple(tuple(int(c) for c in colour) for colour in palette[:count])


def _numbers(part) -> Iterator[int]:
    """Each ``num_classes`` in a part of a config."""
    if isinstance(part, Mapping):
        if isinstance(part.get('num_classes'), int):
            yield part['num_classes']
        part = [part[key] for key in part]
    if isinstance(part, (list, tuple)):
        for one in part:
            yield from _numbers(one)
