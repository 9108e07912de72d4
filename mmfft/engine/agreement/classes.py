# Copyright (c) mmfft authors. All rights reserved.
"""Names of the classes: which, in which order."""

from collections.abc import Iterator

from mmengine.config import Config

from ...openmmlab.scopes import leaf_datasets, toolbox
from .settings import Data, Disagreement, is_list


def palettes(cfg: Config, split: str) -> Iterator[Disagreement]:
    """Mmseg cannot build a data set that has fewer colours than classes."""
    loader = cfg.get(f'{split}_dataloader')
    if toolbox(cfg) != 'mmseg' or not isinstance(loader, dict):
        return
    for leaf in leaf_datasets(loader['dataset']):
        metainfo = leaf.get('metainfo') or {}
        classes, palette = metainfo.get('classes'), metainfo.get('palette')
        if is_list(classes) and palette and len(palette) < len(classes):
            yield Disagreement(
                f'{split}_dataloader.dataset.metainfo.palette',
                f'has {len(palette)} colours for {len(classes)} classes',
            )


def class_names(data: Data) -> Iterator[Disagreement]:
    """The classes are a list of names."""
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


def same_order(data: dict[str, list[Data]]) -> Iterator[Disagreement]:
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
