# Copyright (c) mmfft authors. All rights reserved.
"""Report of the demo's results: a table, a JSON file and a contact sheet."""

import contextlib
import io
import json
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.table import Table

from ..checkpoints.pickles import load_predictions
from ..datasets.digit_scenes import BACKGROUND, CLASSES, PALETTE
from ..engine.json_files import write_json
from ..errors import ConfigError
from ..measure import device_name
from .jobs import cores

# For each metric in results.json: its part, its name in the toolbox, and the
# factor that converts it to percent.
METRICS = dict(
    top1=('cls', 'accuracy/top1', 1),
    bbox_mAP=('det', 'coco/bbox_mAP', 100),
    segm_mAP=('det', 'coco/segm_mAP', 100),
    mIoU=('seg', 'mIoU', 1),
)


def add_result(
    path: Path, part: str, metrics: dict, commands: list[dict]
) -> dict:
    """Add the results of one part to ``results.json``.

    Args:
        path (Path): Path of the file; the results of other parts are kept.
        part (str): Name of the part, ``'cls'``, ``'det'`` or ``'seg'``.
        metrics (dict): Metrics by their names in the toolbox.
        commands (list[dict]): Commands of the part, from :func:`.times`.

    Returns:
        dict: Whole content of the file. ``minutes`` has those of the clock
        and of the processor for each part and in total, where a time counts
        once by the clock in which several parts ran.
    """
    results = read_results(path)
    for name, (of_part, key, factor) in METRICS.items():
        if of_part == part:
            results[name] = round(factor * float(metrics[key]), 2)
    results['machine'] = f'{device_name(torch.device("cpu"))}, {cores()} cores'
    keys = ('start', 'end', 'processor')
    results.setdefault('commands', {})[part] = [
        {key: one[key] for key in keys} for one in commands
    ]
    _write(path, results)
    return results


def remove_result(path: Path, part: str) -> None:
    """Remove the results of one part from ``results.json``.

    Args:
        path (Path): Path of the file, which may be missing.
        part (str): Name of the part.
    """
    results = read_results(path)
    for name, (of_part, *_) in METRICS.items():
        if of_part == part:
            results.pop(name, None)
    results.get('commands', {}).pop(part, None)
    if path.exists():
        _write(path, results)


def read_results(path: Path) -> dict:
    """Read ``results.json``.

    Args:
        path (Path): Path of the file.

    Returns:
        dict: Its content, empty if it is missing.
    """
    return json.loads(path.read_text()) if path.exists() else {}


def _write(path: Path, results: dict) -> None:
    commands = results.get('commands', {})
    ran = {**commands, 'total': sum(commands.values(), [])}
    results['minutes'] = {part: _minutes(of) for part, of in ran.items()}
    write_json(path, results)


def _minutes(commands: list[dict]) -> dict[str, float]:
    """Minutes of the clock in which a command ran, and of the processor."""
    clock, counted_to = 0.0, 0.0
    for one in sorted(commands, key=lambda one: one['start']):
        clock += max(0.0, one['end'] - max(counted_to, one['start']))
        counted_to = max(counted_to, one['end'])
    processor = sum(one['processor'] for one in commands)
    return dict(clock=round(clock / 60, 2), processor=round(processor / 60, 2))


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
        top1=('classify crops', 'top-1'),
        bbox_mAP=('detect in scenes', 'bbox AP'),
        segm_mAP=('', 'segm AP'),
        mIoU=('label every pixel', 'mIoU'),
    )
    table = Table(
        title='CDFFormer (nano) on DigitScenes, validation split',
        caption=results['machine'],
    )
    for column in ('task', 'metric'):
        table.add_column(column)
    for column in ('chance', 'reached', 'clock min', 'CPU min'):
        table.add_column(column, justify='right')

    def minutes(part):
        return (f'{one:.1f}' for one in results['minutes'][part].values())

    for name, (task, metric) in tasks.items():
        part = METRICS[name][0]
        if part in results['minutes']:
            table.add_row(
                task,
                metric,
                f'{chance[name]:.1f} %',
                f'{results[name]:.1f} %',
                *(minutes(part) if task else ()),
            )
    table.add_section()
    table.add_row('total', '', '', '', *minutes('total'))
    return table


def contact_sheet(
    out: Path,
    data: Path,
    classified: Path | None = None,
    detected: Path | None = None,
    labelled: Path | None = None,
    scenes: int = 6,
    zoom: int = 2,
    score_thr: float = 0.5,
) -> None:
    """Draw truth (left) and prediction (right) of what has been predicted.

    Crops are framed and named. Below them, a row for each of some scenes has
    boxes, masks and names, drawn by mmdet's visualizer, and label images. A
    class has the same colour in all of them.

    Args:
        out (Path): Path of the PNG to write.
        data (Path): Folder of the DigitScenes data set.
        classified (Path, optional): Predictions for the validation crops,
            dumped by ``tools/test.py``. Defaults to none.
        detected (Path, optional): Predictions for the validation scenes,
            dumped by ``tools/test.py``. Defaults to none.
        labelled (Path, optional): Folder of predicted label images of the
            validation scenes, by mmseg's ``IoUMetric``. Defaults to none.
        scenes (int): Number of scenes. Defaults to 6.
        zoom (int): Factor by which images are enlarged. Defaults to 2.
        score_thr (float): Lowest score of a detection that is shown.
            Defaults to 0.5.

    Raises:
        ConfigError: If a dump contains no prediction.
    """
    with warnings.catch_warnings():
        # Of boxes that reach beyond the image, as many do.
        warnings.filterwarnings('ignore', '.* is out of bounds', UserWarning)
        rows = _draw_scenes(data, detected, labelled, scenes, zoom, score_thr)
    if classified is not None:
        width = rows[0].shape[1] if rows else 1024 * zoom
        rows = [*_draw_crops(_read(classified), width, zoom), *rows]
    out.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(rows)).save(out)


def _draw_scenes(data, detected, labelled, count, zoom, score_thr):
    """Draw a row for each scene: boxes and masks, and label images."""
    from pycocotools.coco import COCO

    annotations = data / 'scenes' / 'annotations'
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(annotations / 'instances_validation.json')
    chosen = _with_most_digits(coco, count)
    columns = []
    if detected is not None:
        found = {one['img_id']: one for one in _read(detected)}
        visualizer = _scene_visualizer()
        columns.append(
            [
                _draw_scene(
                    visualizer, coco, found[one['id']], zoom, score_thr
                )
                for one in chosen
            ]
        )
    if labelled is not None:
        columns += [
            [_colour_labels(folder / one['file_name'], zoom) for one in chosen]
            for folder in (annotations / 'validation', labelled)
        ]
    return [_beside(*row) for row in zip(*columns)]


def _beside(*pictures: np.ndarray) -> np.ndarray:
    return np.concatenate(pictures, axis=1)


def _read(dump: Path) -> list[dict]:
    samples = load_predictions(str(dump))
    if not samples:
        raise ConfigError(f'{str(dump)!r} holds no prediction')
    return samples


def _enlarged(path: Path, zoom: int) -> np.ndarray:
    image = Image.open(path).convert('RGB')
    size = (image.width * zoom, image.height * zoom)
    return np.asarray(image.resize(size, Image.BICUBIC))


def _with_most_digits(coco, count: int) -> list[dict]:
    """Choose the fullest scene of each of equal parts of the split.

    A sheet of empty scenes would show little.
    """
    images = coco.loadImgs(sorted(coco.getImgIds()))
    parts = np.array_split(np.arange(len(images)), min(count, len(images)))
    return [
        max(
            (images[i] for i in part),
            key=lambda image: len(coco.getAnnIds(imgIds=image['id'])),
        )
        for part in parts
    ]


def _colour_labels(path: Path, zoom: int) -> np.ndarray:
    labels = np.asarray(Image.open(path))
    labels = labels.repeat(zoom, axis=0).repeat(zoom, axis=1)
    return np.array([BACKGROUND, *PALETTE], dtype=np.uint8)[labels]


def _draw_crops(
    samples: list[dict], width: int, zoom: int, rows: int = 2
) -> list[np.ndarray]:
    """Frame and name crops from all parts of the split, in rows of pairs."""
    from mmengine.visualization import Visualizer

    visualizer, line = Visualizer(), 3 * zoom

    def draw(image, label, score=''):
        framed = np.full_like(image, PALETTE[label])
        inside = slice(line, -line)
        framed[inside, inside] = image[inside, inside]
        visualizer.set_image(framed)
        visualizer.draw_texts(
            CLASSES[label] + score,
            torch.tensor([[line + 2, line + 2]]),
            font_sizes=7 * zoom,
            colors='white',
            bboxes=dict(facecolor='black', alpha=0.8, pad=1, edgecolor='none'),
        )
        return visualizer.get_image()

    side = _enlarged(samples[0]['img_path'], zoom).shape[1]
    columns = width // (2 * side)
    places = np.linspace(0, len(samples) - 1, rows * columns).astype(int)
    pairs = []
    for sample in (samples[i] for i in places):
        image = _enlarged(sample['img_path'], zoom)
        (truth,), (label,) = (
            sample[key].tolist() for key in ('gt_label', 'pred_label')
        )
        score = f' {100 * float(sample["pred_score"][label]):.0f} %'
        pairs.append(_beside(draw(image, truth), draw(image, label, score)))
    filled = [
        _beside(*pairs[row * columns : (row + 1) * columns])
        for row in range(rows)
    ]
    margin = (0, 0), (0, width - 2 * side * columns), (0, 0)
    return [np.pad(row, margin, constant_values=255) for row in filled]


def _scene_visualizer():
    from mmdet.visualization import DetLocalVisualizer

    visualizer = DetLocalVisualizer()
    visualizer.dataset_meta = dict(classes=CLASSES, palette=list(PALETTE))
    return visualizer


def _draw_scene(visualizer, coco, sample, zoom, score_thr):
    """Draw boxes, masks and names of the truth beside those predicted."""
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData
    from pycocotools import mask as rle

    image = _enlarged(sample['img_path'], zoom)
    annotations = coco.loadAnns(coco.getAnnIds(imgIds=sample['img_id']))
    labels = {c: i for i, c in enumerate(sorted(coco.getCatIds()))}
    boxes = torch.tensor([a['bbox'] for a in annotations]).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    truth = InstanceData(
        bboxes=boxes * zoom,
        labels=torch.tensor(
            [labels[a['category_id']] for a in annotations], dtype=torch.long
        ),
    )
    true_masks = [coco.annToMask(a) for a in annotations]
    found = sample['pred_instances']
    sure = found['scores'] >= score_thr
    prediction = InstanceData(
        bboxes=found['bboxes'][sure] * zoom,
        labels=found['labels'][sure],
        scores=found['scores'][sure],
    )
    masks = [rle.decode(m) for m, ok in zip(found['masks'], sure) if ok]

    def draw(shown, instances, masks):
        # Its masks would have a random shade of the colour of their class.
        visualizer.set_image(image)
        if masks:
            stack = np.array(masks, dtype=bool)
            visualizer.draw_binary_masks(
                stack.repeat(zoom, axis=1).repeat(zoom, axis=2),
                colors=[PALETTE[label] for label in instances.labels],
                alphas=visualizer.alpha,
            )
        visualizer.add_datasample(
            'scene',
            visualizer.get_image(),
            DetDataSample(**{shown: instances}),
            draw_gt=shown == 'gt_instances',
            draw_pred=shown == 'pred_instances',
            pred_score_thr=score_thr,
        )
        return visualizer.get_image()

    return _beside(
        draw('gt_instances', truth, true_masks),
        draw('pred_instances', prediction, masks),
    )
