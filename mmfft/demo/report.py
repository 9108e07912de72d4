# Copyright (c) mmfft authors. All rights reserved.
"""Report of the demo's results: a table, a JSON file and a contact sheet."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from rich.table import Table

from ..checkpoints.pickles import load_predictions
from ..errors import ConfigError

# For each metric in results.json: its part, its name in the toolbox, and the
# factor that converts it to percent.
METRICS = dict(
    top1=('cls', 'accuracy/top1', 1),
    bbox_mAP=('det', 'coco/bbox_mAP', 100),
    segm_mAP=('det', 'coco/segm_mAP', 100),
    mIoU=('seg', 'mIoU', 1),
)


def add_result(path: Path, part: str, metrics: dict, seconds: float) -> dict:
    """Add the results of one part to ``results.json``.

    Args:
        path (Path): Path of the file; the results of other parts are kept.
        part (str): Name of the part, ``'cls'``, ``'det'`` or ``'seg'``.
        metrics (dict): Metrics by their names in the toolbox.
        seconds (float): Duration of the part in seconds.

    Returns:
        dict: Whole content of the file.
    """
    results = json.loads(path.read_text()) if path.exists() else {}
    for name, (of_part, key, factor) in METRICS.items():
        if of_part == part:
            results[name] = round(factor * float(metrics[key]), 2)
    results.setdefault('seconds', {})[part] = round(seconds, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=2) + '\n')
    return results


def chance_levels(label_folder: Path, crop_folder: Path) -> dict[str, float]:
    """Compute the results of guessing on the validation splits, in percent.

    The classifier always answers with the most frequent digit; the segmentor
    calls every pixel background, so the digits have an IoU of 0; a detector
    without knowledge finds nothing.

    Args:
        label_folder (Path): Folder of label images, 0 for background.
        crop_folder (Path): Folder with a folder of crops for each class.

    Returns:
        dict[str, float]: Result for each name in :data:`METRICS`.
    """
    counts = [
        len(list(folder.iterdir())) for folder in sorted(crop_folder.iterdir())
    ]
    background = [
        np.mean(np.asarray(Image.open(file)) == 0)
        for file in sorted(label_folder.glob('*.png'))
    ]
    return dict(
        top1=100 * max(counts) / sum(counts),
        bbox_mAP=0.0,
        segm_mAP=0.0,
        mIoU=100 * float(np.mean(background)) / (len(counts) + 1),
    )


def results_table(results: dict, chance: dict[str, float]) -> Table:
    """Make a table of the results beside those of guessing, for a terminal.

    Args:
        results (dict): Content of ``results.json``; parts may be missing.
        chance (dict[str, float]): Results of :func:`chance_levels`.

    Returns:
        Table: Table for ``rich.print``.
    """
    tasks = dict(
        top1=('classify crops', 'top-1 accuracy'),
        bbox_mAP=('detect in scenes', 'bbox AP'),
        segm_mAP=('', 'segm AP'),
        mIoU=('label every pixel', 'mIoU'),
    )
    table = Table(title='CDFFormer (nano) on DigitScenes, validation split')
    for column in ('task', 'metric'):
        table.add_column(column)
    for column in ('chance', 'reached', 'minutes'):
        table.add_column(column, justify='right')
    for name, (task, metric) in tasks.items():
        if name not in results:
            continue
        seconds = results['seconds'][METRICS[name][0]]
        table.add_row(
            task,
            metric,
            f'{chance[name]:.1f} %',
            f'{results[name]:.1f} %',
            f'{seconds / 60:.1f}' if task else '',
        )
    return table


def contact_sheet(
    predictions: str,
    annotations: str,
    classes: Sequence[str],
    out: str,
    rows: int = 6,
    columns: int = 2,
    zoom: int = 2,
    score_thr: float = 0.5,
) -> None:
    """Draw scenes with their true and predicted boxes, masks and labels.

    mmdet's visualizer draws them, with the truth on the left of each pair.

    Args:
        predictions (str): Path of a dump by mmdet's ``DumpDetResults``.
        annotations (str): Path of the COCO JSON of the same images.
        classes (Sequence[str]): Names of the labels.
        out (str): Path of the PNG to write.
        rows (int): Number of rows of pairs. Defaults to 6.
        columns (int): Number of pairs in a row. Defaults to 2.
        zoom (int): Factor by which images are enlarged. Defaults to 2.
        score_thr (float): Lowest score of a prediction that is shown.
            Defaults to 0.5.

    Raises:
        ConfigError: If the dump contains no prediction.
    """
    from mmdet.visualization import DetLocalVisualizer
    from pycocotools.coco import COCO

    samples = load_predictions(predictions)
    if not samples:
        raise ConfigError(f'{predictions!r} holds no prediction')
    coco = COCO(annotations)
    # The scene with the most digits from each of equal parts of the split: a
    # sheet of empty scenes would show little.
    parts = np.array_split(np.arange(len(samples)), rows * columns)
    visualizer = DetLocalVisualizer()
    visualizer.dataset_meta = dict(classes=tuple(classes), palette='random')
    pairs = []
    for part in parts:
        if not len(part):
            continue
        sample = max(
            (samples[i] for i in part),
            key=lambda s: len(coco.getAnnIds(imgIds=s['img_id'])),
        )
        visualizer.add_datasample(
            'scene',
            *_zoomed(sample, coco, zoom),
            pred_score_thr=score_thr,
        )
        pairs.append(visualizer.get_image())
    pairs += [np.full_like(pairs[0], 255)] * (rows * columns - len(pairs))
    sheet = np.concatenate(
        [
            np.concatenate(pairs[r * columns : (r + 1) * columns], axis=1)
            for r in range(rows)
        ]
    )
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet).save(out)


def _zoomed(sample: dict, coco, zoom: int):
    """Enlarge an image and its data sample so that labels can be read."""
    import torch
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmengine.structures import InstanceData
    from pycocotools import mask as rle

    image = Image.open(sample['img_path']).convert('RGB')
    size = (image.width * zoom, image.height * zoom)
    image = np.asarray(image.resize(size, Image.BICUBIC))

    def enlarge(masks):
        masks = np.asarray(masks, dtype=np.uint8).reshape(
            -1, size[1] // zoom, size[0] // zoom
        )
        masks = masks.repeat(zoom, axis=1).repeat(zoom, axis=2)
        return BitmapMasks(masks, size[1], size[0])

    annotations = coco.loadAnns(coco.getAnnIds(imgIds=sample['img_id']))
    labels = {c: i for i, c in enumerate(sorted(coco.getCatIds()))}
    boxes = torch.tensor([a['bbox'] for a in annotations]).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    truth = InstanceData(
        bboxes=boxes * zoom,
        labels=torch.tensor(
            [labels[a['category_id']] for a in annotations], dtype=torch.long
        ),
        masks=enlarge([coco.annToMask(a) for a in annotations]),
    )
    found = sample['pred_instances']
    prediction = InstanceData(
        bboxes=found['bboxes'] * zoom,
        labels=found['labels'],
        scores=found['scores'],
        masks=enlarge([rle.decode(m) for m in found['masks']]),
    )
    return image, DetDataSample(gt_instances=truth, pred_instances=prediction)
