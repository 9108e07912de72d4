# Copyright (c) mmfft authors. All rights reserved.
import json

import numpy as np
import pytest
import torch
from conftest import ROOT
from mmengine.config import Config
from mmengine.fileio import dump
from PIL import Image
from pycocotools import mask as rle
from rich.console import Console

from mmfft.datasets.digit_scenes import BACKGROUND, PALETTE
from mmfft.demo.report import (
    add_result,
    chance_levels,
    contact_sheet,
    remove_result,
    results_table,
)
from mmfft.errors import ConfigError


def ran(start, end, processor):
    return dict(
        command='$ c', status=0, start=start, end=end, processor=processor
    )


def test_results_of_the_parts_add_up(tmp_path):
    file = tmp_path / 'demo' / 'results.json'
    # Classification was interrupted, and detection ran beside a part of it.
    commands = [ran(1000, 1060, 80), ran(2000, 2030, 40)]
    add_result(file, 'cls', {'accuracy/top1': 97.5}, commands)
    metrics = {'coco/bbox_mAP': 0.613, 'coco/segm_mAP': 0.5, 'other': 1}
    results = add_result(file, 'det', metrics, [ran(2012, 2102, 93)])
    assert results == json.loads(file.read_text())
    machine = results.pop('machine')
    assert machine.endswith(' cores')
    assert set(results.pop('commands')) == {'cls', 'det'}
    assert results == dict(
        top1=97.5,
        bbox_mAP=61.3,
        segm_mAP=50.0,
        minutes=dict(
            cls=dict(clock=1.5, processor=2.0),
            det=dict(clock=1.5, processor=1.55),
            total=dict(clock=2.7, processor=3.55),
        ),
    )
    chance = dict(top1=12.5, bbox_mAP=0, segm_mAP=0, mIoU=8.5)
    console = Console(width=100, record=True)
    results = json.loads(file.read_text())
    console.print(results_table(results, chance))
    text = console.export_text()
    assert '97.5 %' in text and '12.5 %' in text and '1.5' in text
    assert 'mIoU' not in text
    assert text.count(machine) == 1
    (total,) = (line for line in text.splitlines() if 'total' in line)
    assert total.replace('│', '').split() == ['total', '2.7', '3.5']
    remove_result(file, 'det')
    results = json.loads(file.read_text())
    assert set(results['minutes']) == set(results['commands']) | {'total'}
    assert results['minutes']['total'] == dict(clock=1.5, processor=2)
    assert 'top1' in results and 'bbox_mAP' not in results


def test_chance_is_counted_on_the_data(tmp_path):
    for label, count in [('0', 3), ('1', 1)]:
        (tmp_path / 'crops' / label).mkdir(parents=True)
        for i in range(count):
            (tmp_path / 'crops' / label / f'{i}.png').touch()
    labels = np.zeros((4, 4), dtype=np.uint8)
    labels[0] = 2
    (tmp_path / 'labels').mkdir()
    Image.fromarray(labels).save(tmp_path / 'labels' / '1.png')
    chance = chance_levels(tmp_path / 'labels', tmp_path / 'crops')
    assert chance['top1'] == 75
    # background 12 of 16 pixels, two digits never found
    assert chance['mIoU'] == pytest.approx(100 * 0.75 / 3)


@pytest.fixture
def predicted(tmp_path):
    """A data set of one black scene with a 3, and predictions for it.

    The detector also found an 8, but is not sure. The segmentor takes the 3
    for an 8, as the classifier does with the second of two crops.
    """
    data = tmp_path / 'data'
    crops = [data / 'crops' / f'{i}.png' for i in range(2)]
    places = [
        data / 'scenes' / n / 'validation' for n in ('images', 'annotations')
    ]
    for folder in (data / 'crops', *places, tmp_path / 'labels'):
        folder.mkdir(parents=True)
    for crop in crops:
        Image.new('RGB', (30, 30)).save(crop)
    Image.new('RGB', (40, 30)).save(places[0] / '7.png')
    mask = np.zeros((30, 40), dtype=np.uint8, order='F')
    mask[5:15, 10:30] = 1
    Image.fromarray(4 * mask).save(places[1] / '7.png')
    Image.fromarray(9 * mask).save(tmp_path / 'labels' / '7.png')
    code = rle.encode(mask)
    # As the toolboxes dump them.
    found = dict(
        bboxes=torch.tensor([[10.0, 5, 30, 15], [0, 0, 5, 29]]),
        labels=torch.tensor([3, 8]),
        scores=torch.tensor([0.9, 0.1]),
        masks=[code, rle.encode(np.asfortranarray(1 - mask))],
    )
    sample = dict(
        img_id=7, img_path=str(places[0] / '7.png'), pred_instances=found
    )
    dump([sample], str(tmp_path / 'det.pkl'))
    samples = [
        dict(
            img_path=str(crop),
            gt_label=torch.tensor([3]),
            pred_label=torch.tensor([label]),
            pred_score=torch.full((10,), 0.7),
        )
        for crop, label in zip(crops, (3, 8))
    ]
    dump(samples, str(tmp_path / 'cls.pkl'))
    annotation = dict(
        id=1,
        image_id=7,
        category_id=4,
        bbox=[10, 5, 20, 10],
        area=200,
        iscrowd=0,
        segmentation=dict(size=[30, 40], counts=code['counts'].decode()),
    )
    image = dict(id=7, width=40, height=30, file_name='7.png')
    categories = [dict(id=1 + i, name=str(i)) for i in range(10)]
    (places[1].parent / 'instances_validation.json').write_text(
        json.dumps(
            dict(
                images=[image],
                categories=categories,
                annotations=[annotation],
            )
        )
    )
    return dict(
        data=data,
        classified=tmp_path / 'cls.pkl',
        detected=tmp_path / 'det.pkl',
        labelled=tmp_path / 'labels',
    )


def test_contact_sheet_gives_a_class_one_colour(predicted, tmp_path):
    out = tmp_path / 'pictures' / 'sheet.png'
    contact_sheet(out, **predicted, zoom=4)
    sheet = np.asarray(Image.open(out)).astype(int)
    # Two rows of two pairs of crops, and the scene four times.
    assert sheet.shape == (120 * 3, 4 * 160, 3)
    assert (sheet[:240, 480:] == 255).all()
    three, eight, ground = PALETTE[3], PALETTE[8], BACKGROUND
    # The frames, at the lower edges: only the last crop is called an 8.
    edges = sheet[[119, 239], :480].reshape(8, 120, 3)
    assert (edges[:7] == three).all() and (edges[7] == eight).all()
    truth, found, labels, segmented = np.split(sheet[240:], 4, axis=1)
    inside, outside = (48, 100), (100, 140)
    for scene in (truth, found):
        # The mask is laid over a black image; far from it nothing is drawn,
        # since the second detection is below the score.
        tint = scene[inside] / np.linalg.norm(scene[inside])
        np.testing.assert_allclose(
            tint, three / np.linalg.norm(three), atol=0.02
        )
        assert scene[outside].sum() == 0
    for scene, colour in ((labels, three), (segmented, eight)):
        assert (scene[inside] == colour).all()
        assert (scene[outside] == ground).all()


@pytest.mark.parametrize('task', ['classified', 'detected', 'labelled'])
def test_contact_sheet_of_one_task(task, predicted, tmp_path):
    out = tmp_path / 'sheet.png'
    contact_sheet(out, predicted['data'], **{task: predicted[task]})
    height, width, _ = np.asarray(Image.open(out)).shape
    if task == 'classified':
        assert (height, width) == (2 * 60, 2048)
    else:
        assert (height, width) == (60, 2 * 80)


def test_contact_sheet_without_predictions(predicted, tmp_path):
    dump([], str(predicted['detected']))
    with pytest.raises(ConfigError, match="det.pkl' holds no prediction"):
        contact_sheet(tmp_path / 'sheet.png', **predicted)


def test_data_configs_state_the_colours():
    base = ROOT / 'configs' / '_base_' / 'datasets'
    instance = Config.fromfile(base / 'digit_scenes_instance.py').metainfo
    assert [tuple(c) for c in instance.palette] == list(PALETTE)
    semantic = Config.fromfile(base / 'digit_scenes_semantic.py').metainfo
    assert [tuple(c) for c in semantic.palette] == [BACKGROUND, *PALETTE]
