# Copyright (c) mmfft authors. All rights reserved.
import json

import numpy as np
import pytest
import torch
from mmengine.fileio import dump
from PIL import Image
from pycocotools import mask as rle
from rich.console import Console

from mmfft.demo.report import (
    add_result,
    chance_levels,
    contact_sheet,
    results_table,
)


def test_results_of_the_parts_add_up(tmp_path):
    file = tmp_path / 'demo' / 'results.json'
    add_result(file, 'cls', {'accuracy/top1': 97.5}, 60.04)
    metrics = {'coco/bbox_mAP': 0.613, 'coco/segm_mAP': 0.5, 'other': 1}
    results = add_result(file, 'det', metrics, 90)
    assert results == json.loads(file.read_text())
    assert results == dict(
        top1=97.5,
        bbox_mAP=61.3,
        segm_mAP=50.0,
        seconds=dict(cls=60.0, det=90),
    )
    chance = dict(top1=12.5, bbox_mAP=0, segm_mAP=0, mIoU=8.5)
    console = Console(width=100, record=True)
    console.print(results_table(results, chance))
    text = console.export_text()
    assert '97.5 %' in text and '12.5 %' in text and '1.5' in text
    assert 'mIoU' not in text


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
def scene(tmp_path):
    """A black image with one digit, found twice: surely and hardly."""
    Image.new('RGB', (40, 30)).save(tmp_path / 'scene.png')
    mask = np.zeros((30, 40), dtype=np.uint8, order='F')
    mask[5:15, 10:30] = 1
    code = rle.encode(mask)
    # As mmdet dumps it.
    prediction = dict(
        bboxes=torch.tensor([[10.0, 5, 30, 15], [0, 0, 5, 29]]),
        labels=torch.tensor([1, 0]),
        scores=torch.tensor([0.9, 0.1]),
        masks=[code, rle.encode(np.asfortranarray(1 - mask))],
    )
    predictions = tmp_path / 'predictions.pkl'
    sample = dict(
        img_id=7,
        img_path=str(tmp_path / 'scene.png'),
        pred_instances=prediction,
    )
    dump([sample], str(predictions))
    annotation = dict(
        id=1,
        image_id=7,
        category_id=2,
        bbox=[10, 5, 20, 10],
        area=200,
        iscrowd=0,
        segmentation=dict(size=[30, 40], counts=code['counts'].decode()),
    )
    annotations = tmp_path / 'annotations.json'
    annotations.write_text(
        json.dumps(
            dict(
                images=[dict(id=7, width=40, height=30, file_name='a')],
                categories=[dict(id=1, name='0'), dict(id=2, name='1')],
                annotations=[annotation],
            )
        )
    )
    return str(predictions), str(annotations)


def test_contact_sheet_shows_truth_and_sure_predictions(scene, tmp_path):
    out = tmp_path / 'pictures' / 'sheet.png'
    contact_sheet(*scene, '01', str(out), rows=1, columns=2, zoom=4)
    sheet = np.asarray(Image.open(out)).astype(int)
    # A pair of scenes and the blank place of a second pair.
    assert sheet.shape == (120, 4 * 160, 3)
    truth, found = sheet[:, :160], sheet[:, 160:320]
    assert (sheet[:, 320:] == 255).all()
    inside, outside = (40, 60), (100, 140)
    for picture in (truth, found):
        # The middle of the digit is tinted; far from it nothing is drawn,
        # since the second prediction is below the score.
        assert picture[inside].sum() > 0
        assert picture[outside].sum() == 0
