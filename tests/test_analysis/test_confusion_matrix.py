# Copyright (c) mmfft authors. All rights reserved.
import json
import pickle

import numpy as np
import pytest
import torch
from config_files import load_small

from mmfft.analysis.confusion_matrix import (
    confusion_matrix,
    save_confusion_matrix,
)
from mmfft.errors import ConfigError


@pytest.fixture
def write(tmp_path):
    def write(results):
        path = tmp_path / 'predictions.pkl'
        path.write_bytes(pickle.dumps(results))
        return str(path)

    return write


def test_images(digit_scenes, write):
    cfg = load_small('mmpretrain', digit_scenes)
    truth = torch.arange(20) % 10
    said = truth.clone()
    said[3] = 7
    pairs = zip(truth, said)
    results = [dict(gt_label=t[None], pred_label=p[None]) for t, p in pairs]
    counts, names = confusion_matrix(cfg, write(results))
    assert names == list('0123456789')
    expected = np.diag([2] * 10)
    expected[3, 3], expected[3, 7] = 1, 1
    assert (counts == expected).all()


def test_boxes(digit_scenes, write):
    """One box is right, one has another class, the others are missed."""
    cfg = load_small('mmdet', digit_scenes)
    file = digit_scenes / 'scenes/annotations/instances_validation.json'
    truth = json.loads(file.read_text())
    ids = [category['id'] for category in truth['categories']]
    boxes = {image['id']: [] for image in truth['images']}
    for box in truth['annotations']:
        x, y, w, h = box['bbox']
        label = ids.index(box['category_id'])
        boxes[box['image_id']].append(([x, y, x + w, y + h], label))
    first = next(found for found in boxes.values() if len(found) > 1)
    other = (first[1][1] + 1) % 10
    results = []
    for found in boxes.values():
        mine = found[:2] if found is first else []
        labels = [first[0][1], other][: len(mine)]
        results.append(
            dict(
                pred_instances=dict(
                    bboxes=torch.tensor([b for b, _ in mine]).view(-1, 4),
                    labels=torch.tensor(labels, dtype=torch.long),
                    scores=torch.full((len(mine),), 0.9),
                )
            )
        )
    counts, names = confusion_matrix(cfg, write(results))
    assert names == [*'0123456789', 'background']
    total = sum(map(len, boxes.values()))
    assert counts.diagonal().sum() == 1
    assert counts[first[1][1], other] == 1
    # mmdet also counts the box that was taken for another as missed.
    assert counts[:, -1].sum() == total - 1
    counts, _ = confusion_matrix(cfg, write(results), score_thr=0.95)
    assert counts[:, -1].sum() == counts.sum() == total


def test_pixels(digit_scenes, write):
    cfg = load_small('mmseg', digit_scenes)
    truth = torch.tensor([[[0, 1, 255], [1, 10, 0]]])
    said = torch.tensor([[[0, 1, 3], [2, 10, 10]]])
    results = [
        dict(gt_sem_seg=dict(data=truth), pred_sem_seg=dict(data=said))
    ] * 4
    counts, names = confusion_matrix(cfg, write(results))
    assert names[0] == 'background' and len(names) == 11
    assert counts.sum() == 4 * 5  # what is ignored does not count
    for pair in [(0, 0), (1, 1), (1, 2), (10, 10), (0, 10)]:
        assert counts[pair] == 4


def test_predictions_that_are_not_of_this_test(digit_scenes, write):
    cfg = load_small('mmpretrain', digit_scenes)
    with pytest.raises(ConfigError, match='for 3 images.*has 20'):
        confusion_matrix(cfg, write([{}] * 3))
    with pytest.raises(ConfigError, match="no 'gt_label'.*another task"):
        confusion_matrix(cfg, write([{}] * 20))
    with pytest.raises(ConfigError, match='does not exist'):
        confusion_matrix(cfg, 'none.pkl')


def test_files(tmp_path):
    counts = np.array([[3, 1], [0, 0]])
    save_confusion_matrix(counts, ['a', 'b'], tmp_path / 'new')
    assert json.loads(
        (tmp_path / 'new/confusion_matrix.json').read_text()
    ) == (dict(classes=['a', 'b'], counts=[[3, 1], [0, 0]]))
    assert (tmp_path / 'new/confusion_matrix.png').stat().st_size > 1000


def test_tool(digit_scenes, tmp_path, write, call_tool, capsys):
    cfg = load_small('mmpretrain', digit_scenes)
    cfg.dump(tmp_path / 'config.py')
    label = torch.tensor([1])
    write([dict(gt_label=label, pred_label=label)] * 20)
    call_tool(
        'analysis_tools/confusion_matrix.py', 'config.py', 'predictions.pkl',
        'out', cwd=tmp_path,
    )  # fmt: skip
    assert '20 of 20 are right' in capsys.readouterr().out
