# Copyright (c) mmfft authors. All rights reserved.
import pytest
import torch
from config_files import load_tiny
from mmengine.structures import InstanceData

from mmfft.analysis.padded_predictions import (
    ALONE,
    Padding,
    changed_labels,
    match_objects,
    normalized,
    object_changes,
    predict,
    read_samples,
)
from mmfft.engine import build_model
from mmfft.errors import ConfigError


def test_sizes_of_paddings():
    assert Padding(32).apply((172, 256)) == (192, 256)
    assert Padding(1, 1.1).apply((10, 20)) == (11, 22)
    # A neighbour is itself padded.
    neighbour = Padding(32, 1.5)
    assert neighbour.neighbour((101, 64)) == (152, 96)
    assert neighbour.apply((101, 64)) == (160, 96)
    assert ALONE.apply((101, 64)) == (101, 64)
    assert [str(Padding(32)), str(neighbour)] == [
        'multiple of 32', 'neighbour 1.5 x'
    ]  # fmt: skip


def objects(boxes, scores, labels, masks=None):
    found = InstanceData(
        bboxes=torch.tensor(boxes, dtype=torch.float).reshape(-1, 4),
        scores=torch.tensor(scores, dtype=torch.float),
        labels=torch.tensor(labels, dtype=torch.long),
    )
    if masks is not None:
        found.masks = torch.tensor(masks, dtype=torch.bool)
    return found


def test_objects_are_matched():
    alone = objects(
        [
            [0, 0, 10, 10],
            [20, 20, 40, 40],  # changes its class
            [50, 0, 60, 10],  # falls below the threshold
            [70, 0, 80, 10],  # moves too far
            [0, 50, 10, 60],  # was below it
        ],
        [0.9, 0.8, 0.35, 0.7, 0.2],
        [1, 2, 3, 4, 5],
    )
    padded = objects(
        [
            [1, 0, 10, 12],
            [20, 20, 40, 40],
            [50, 0, 60, 10],
            [77, 0, 87, 10],
            [0, 50, 10, 60],
        ],
        [0.8, 0.8, 0.25, 0.7, 0.4],
        [1, 6, 3, 4, 5],
    )
    found = match_objects(alone, padded)
    assert found[:3] == (1, 3, 3)
    assert found.score == [pytest.approx(0.1)]
    assert found.box == [2]
    assert found.mask_iou == []
    # Now the objects near 0.3 count, and are the same.
    assert match_objects(alone, padded, 0.1)[:3] == (3, 2, 2)


def test_an_object_is_matched_once_and_to_the_best():
    # The first overlaps both; the second only the first of the others.
    alone = objects([[0, 0, 10, 10], [0, 2, 10, 12]], [0.9, 0.9], [0, 0])
    padded = objects([[0, 0, 10, 11], [0, 0, 10, 7]], [0.9, 0.8], [0, 0])
    found = match_objects(alone, padded)
    assert found[:3] == (2, 0, 0)
    assert found.box == [3, 2]
    twice = objects([[0, 0, 10, 10]] * 2, [0.9, 0.8], [0, 0])
    assert match_objects(twice, twice[:1])[:3] == (1, 1, 0)


def test_masks_and_nothing():
    half = [[[1, 1], [0, 0]]]
    third = [[[1, 1], [1, 0]]]
    empty = [[[0, 0], [0, 0]]]
    box = [[0, 0, 2, 2]]
    found = match_objects(
        objects(box, [0.9], [0], half), objects(box, [0.9], [0], third)
    )
    assert found.mask_iou == [pytest.approx(2 / 3)]
    same = objects(box, [0.9], [0], empty)
    assert match_objects(same, same).mask_iou == [1]
    nothing = objects([], [], [])
    assert match_objects(nothing, nothing) == (0, 0, 0, [], [], [])
    assert match_objects(nothing, objects(box, [0.9], [0]))[:3] == (0, 0, 1)


def test_labels():
    alone = torch.tensor([[[0, 1], [2, 3]]])
    assert changed_labels(alone, alone) == 0
    assert changed_labels(alone, alone.clamp(max=2)) == 0.25


@pytest.mark.parametrize('toolbox', ['mmdet', 'mmseg'])
def test_the_toolbox_pads(toolbox, digit_scenes):
    cfg = load_tiny(toolbox, digit_scenes)
    # What the config says of its own tests does not count.
    if toolbox == 'mmdet':
        cfg.model.data_preprocessor.pad_size_divisor = 64
    samples = read_samples(cfg, 2, (170, 201))
    assert [s['inputs'].shape for s in samples] == [(3, 170, 201)] * 2
    paths = [s['data_samples'].img_path for s in samples]
    assert len(set(paths)) == 2
    model = build_model(cfg)
    image = normalized(model, samples[0])
    assert image.shape == (1, 3, 170, 201)
    seen = []

    def look(module, args):
        seen.append(args[0])

    model.backbone.register_forward_pre_hook(look)
    for padding in (ALONE, Padding(32), Padding(32, 1.5)):
        found = predict(model, samples[0], padding)
        assert found.img_path == paths[0]
        if toolbox == 'mmseg':
            assert found.pred_sem_seg.data.shape == (1, 170, 201)
        else:
            assert found.pred_instances.bboxes[:, 2].max() <= 201
    for batch, size in zip(seen, [(170, 201), (192, 224), (256, 320)]):
        assert batch.shape[2:] == size
        torch.testing.assert_close(batch[:1, :, :170, :201], image)
        assert not batch[0, :, 170:].any() and not batch[0, :, :, 201:].any()
    assert [len(batch) for batch in seen] == (
        [1, 1, 2] if toolbox == 'mmdet' else [1, 1, 1]
    )
    # It is left as it was.
    assert samples[0]['inputs'].dtype == torch.uint8
    assert 'pred_instances' not in samples[0]['data_samples']


def test_what_cannot_be_read(digit_scenes):
    cfg = load_tiny('mmseg', digit_scenes)
    with pytest.raises(ConfigError, match='--crop 193 20: .* of 192 x 256'):
        read_samples(cfg, 1, (193, 20))
    with pytest.raises(ConfigError, match='--count .* from 1 up, got 0'):
        read_samples(cfg, 0)
    augmented = load_tiny('mmseg', digit_scenes)
    augmented.test_dataloader.dataset.pipeline = cfg.tta_pipeline
    with pytest.raises(ConfigError, match='one tensor of an image, got list'):
        read_samples(augmented, 1)
    cfg.test_dataloader.dataset.data_root = 'nowhere'
    with pytest.raises(ConfigError, match='nowhere.*digit_scenes.py'):
        read_samples(cfg, 1)
    cfg.test_dataloader = None
    with pytest.raises(ConfigError, match='does not have'):
        read_samples(cfg, 1)


def test_a_detector_without_boxes():
    sample = dict(pred_panoptic_seg=None)
    with pytest.raises(ConfigError, match='no pred_instances'):
        object_changes([(sample, sample)])
