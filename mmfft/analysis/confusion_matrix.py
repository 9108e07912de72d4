# Copyright (c) mmfft authors. All rights reserved.
"""Which classes a model takes for which, from the predictions of a test."""

from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.fileio import dump
from mmengine.registry import DATASETS

from ..checkpoints.pickles import load_predictions
from ..errors import ConfigError
from ..openmmlab.scopes import choose_by_scope, enter_scope
from ..openmmlab.scripts import load_script


def confusion_matrix(
    cfg: Config, predictions: str, score_thr: float = 0.3, iou_thr: float = 0.5
) -> tuple[np.ndarray, list[str]]:
    """Count images, boxes or pixels by their true and predicted class.

    Boxes are counted as mmdet's ``confusion_matrix.py`` does, with
    ``background`` for boxes that match no other.

    Args:
        cfg (Config): Config of mmpretrain, mmdet or mmseg.
        predictions (str): File that ``tools/test.py --out FILE.pkl`` wrote
            with this config.
        score_thr (float): Lowest score of a box that counts. Defaults to 0.3.
        iou_thr (float): Lowest IoU with a true box at which a box matches it.
            Defaults to 0.5.

    Returns:
        tuple[np.ndarray, list[str]]: Counts ``(true, predicted)``, and the
        names of the classes.

    Raises:
        ConfigError: If the config is for another toolbox, or the file does not
            belong to the config's test.
    """
    count = choose_by_scope(
        cfg, dict(mmpretrain=_images, mmdet=_boxes, mmseg=_pixels)
    )
    results = load_predictions(predictions)
    enter_scope(cfg)
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    if len(dataset) != len(results):
        raise ConfigError(
            f'{predictions!r} has predictions for {len(results)} images, and '
            f"the config's test has {len(dataset)}"
        )
    names = list(dataset.metainfo['classes'])
    try:
        counts = count(dataset, results, len(names), score_thr, iou_thr)
    except KeyError as error:
        raise ConfigError(
            f'{predictions!r} has no {error}: it is of another task than the '
            'config'
        ) from error
    if len(counts) > len(names):
        names.append('background')
    return counts, names


def _images(dataset, results, num_classes: int, *thresholds) -> np.ndarray:
    counts = np.zeros((num_classes, num_classes), int)
    for result in results:
        counts[int(result['gt_label']), int(result['pred_label'])] += 1
    return counts


def _boxes(
    dataset, results, num_classes: int, score_thr: float, iou_thr: float
) -> np.ndarray:
    script = load_script('mmdet', 'analysis_tools/confusion_matrix.py')
    return script['calculate_confusion_matrix'](
        dataset, results, score_thr, None, iou_thr
    ).astype(int)


def _pixels(dataset, results, num_classes: int, *thresholds) -> np.ndarray:
    counts = torch.zeros(num_classes**2, dtype=torch.long)
    for result in results:
        truth, predicted = (
            torch.as_tensor(result[key]['data']).flatten().long()
            for key in ('gt_sem_seg', 'pred_sem_seg')
        )
        known = truth < num_classes  # others are ignored
        pairs = truth[known] * num_classes + predicted[known]
        counts += torch.bincount(pairs, minlength=num_classes**2)
    return counts.view(num_classes, num_classes).numpy()


def save_confusion_matrix(
    counts: np.ndarray, names: list[str], folder: str | Path
) -> None:
    """Write counts as ``confusion_matrix.json`` and a picture.

    In the picture, each row adds up to 100 %.

    Args:
        counts (np.ndarray): Counts ``(true, predicted)``.
        names (list[str]): Names of the classes.
        folder (str | Path): Folder of ``confusion_matrix.{json,png}``, which
            is made if it does not exist.
    """
    from matplotlib.figure import Figure

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    dump(
        dict(classes=names, counts=counts.tolist()),
        str(folder / 'confusion_matrix.json'),
    )
    totals = counts.sum(1, keepdims=True)
    share = 100 * counts / np.maximum(totals, 1)
    side = 2.5 + 0.45 * len(names)
    figure = Figure((side + 0.6, side), layout='constrained')
    axes = figure.add_subplot()
    image = axes.imshow(share, cmap='Blues', vmin=0, vmax=100)
    figure.colorbar(image, label='% of the true class', shrink=0.8)
    places = range(len(names))
    axes.set_xticks(places, names, rotation=90)
    axes.set_yticks(
        places,
        [f'{name} ({n})' for name, n in zip(names, totals[:, 0])],
    )
    axes.set(xlabel='predicted', ylabel='true (number)')
    if len(names) <= 30:
        for row, column in np.argwhere(counts):
            value = share[row, column]
            axes.text(
                column,
                row,
                f'{value:.0f}',
                ha='center',
                va='center',
                fontsize=7,
                color='white' if value > 50 else 'black',
            )
    figure.savefig(folder / 'confusion_matrix.png', dpi=120)
