# Copyright (c) mmfft authors. All rights reserved.
"""Predictions are those of the toolboxes' inferencers."""

import cv2
import numpy as np
import pytest
import torch
from config_files import load
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from PIL import Image
from random_weights import save_random_weights

from mmfft.errors import ConfigError
from mmfft.predict.toolbox_model import ToolboxModel

DEMO = 'configs/demo/'
CLS = DEMO + 'cdfformer-nano_1xb32-6e_digit-crops.py'
DET = DEMO + 'mask-rcnn_cdfformer-nano_fpn_1xb4-3e_digit-scenes.py'
SEG = DEMO + 'cdfformer-nano_fpn_1xb2-2k_digit-scenes-192x256.py'


def model_of(config, folder, cfg=None, **meta):
    cfg = cfg or load(config)
    if config == DET:
        cfg.model.test_cfg.rcnn.max_per_img = 4
    checkpoint = save_random_weights(cfg, folder)
    content = torch.load(checkpoint)
    torch.save({**content, 'meta': meta}, checkpoint)
    return ToolboxModel(cfg, checkpoint), checkpoint


@pytest.fixture
def picture(digit_scenes):
    folder = digit_scenes / 'scenes' / 'images' / 'validation'
    return str(sorted(folder.glob('*.png'))[0])


def test_classification(tmp_path, picture):
    from mmpretrain import ImageClassificationInferencer

    model, checkpoint = model_of(CLS, tmp_path)
    shown, found = model.predict_file(picture)
    infer = ImageClassificationInferencer(model.cfg, checkpoint, device='cpu')
    (expected,) = infer(picture)
    assert found.task == model.task == 'classification'
    order = found.labels
    np.testing.assert_allclose(found.scores, expected['pred_scores'][order])
    assert (np.diff(found.scores) <= 0).all() and len(set(order)) == 10
    assert np.array_equal(shown, np.asarray(Image.open(picture)))
    frame = model.predict_frame(shown)
    np.testing.assert_array_equal(frame.scores, found.scores)


def test_detection(tmp_path, picture):
    from mmdet.apis import DetInferencer
    from pycocotools import mask as rle

    cfg = load(DET)
    palette = [(i, 90, 200 - i) for i in range(10)]
    trained = dict(classes=cfg.metainfo.classes, palette=palette)
    model, checkpoint = model_of(DET, tmp_path, cfg, dataset_meta=trained)
    shown, found = model.predict_file(picture)
    infer = DetInferencer(cfg, checkpoint, device='cpu', show_progress=False)
    (expected,) = infer(picture)['predictions']
    assert len(found.labels) == 4
    assert found.labels.tolist() == expected['labels']
    np.testing.assert_allclose(found.scores, expected['scores'])
    np.testing.assert_allclose(found.boxes, expected['bboxes'])
    masks = np.array([rle.decode(one) for one in expected['masks']])
    np.testing.assert_array_equal(found.masks, masks)
    assert found.size == shown.shape[:2] == masks.shape[1:]
    assert found.classes == tuple(trained['classes'])
    assert found.palette == tuple(palette)
    frame = model.predict_frame(shown)
    np.testing.assert_array_equal(frame.boxes, found.boxes)
    assert found.describe(0).startswith('4 found: ')


def test_segmentation(tmp_path, picture):
    from mmseg.apis import MMSegInferencer

    model, checkpoint = model_of(SEG, tmp_path)
    shown, found = model.predict_file(picture)
    infer = MMSegInferencer(load(SEG), checkpoint, device='cpu')
    expected = infer(picture)['predictions']
    np.testing.assert_array_equal(found.label_map, expected)
    assert found.task == 'segmentation' and not len(found.labels)
    frame = model.predict_frame(shown)
    np.testing.assert_array_equal(frame.label_map, expected)


def classifier(folder, channels, **loading):
    cfg = load(CLS)
    cfg.model.backbone.in_channels = channels
    cfg.data_preprocessor = ConfigDict(
        mean=[127.0] * channels, std=[50.0] * channels, num_classes=10
    )
    cfg.test_dataloader.dataset.pipeline = [
        ConfigDict(type='LoadImageFromFile', **loading),
        ConfigDict(type='PackInputs'),
    ]
    return model_of(CLS, folder, cfg)[0]


@pytest.mark.parametrize('channels', [1, 4])
def test_other_channels(channels, tmp_path, monkeypatch):
    kind = 'grayscale' if channels == 1 else 'unchanged'
    model = classifier(tmp_path, channels, color_type=kind)
    pixels = np.random.default_rng(0).integers(0, 256, (64, 48, 4))
    path = tmp_path / 'image.png'
    cv2.imwrite(str(path), pixels.astype(np.uint8))
    seen = []
    model.model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs['inputs']),
        with_kwargs=True,
    )
    shown, found = model.predict_file(path)
    assert shown.shape == (64, 48, 3) and found.size == (64, 48)
    assert seen[0].shape[1] == channels
    if channels == 1:
        assert (shown == shown[..., :1]).all()
        grey = model.predict_frame(shown)
        np.testing.assert_allclose(grey.scores, found.scores, atol=1e-5)
    else:
        np.testing.assert_array_equal(shown, pixels[..., 2::-1])
        with pytest.raises(ConfigError, match='the model takes 4'):
            model.predict_frame(shown)


def test_a_picture_is_turned_upright(tmp_path):
    model = classifier(tmp_path, 3)
    pixels = np.zeros((32, 64, 3), dtype=np.uint8)
    pixels[:, :32] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / 'turned.jpg'
    Image.fromarray(pixels).save(path, exif=exif, quality=95)
    shown, found = model.predict_file(path)
    assert found.size == (64, 32) and shown.shape == (64, 32, 3)
    assert shown[:28].min() > 200 and shown[36:].max() < 50


def test_what_cannot_be_read(tmp_path):
    model = classifier(tmp_path, 3)
    for name, content in (('none.png', b''), ('text.png', b'no image')):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ConfigError, match=f"'{name}' is not an image"):
            model.predict_file(tmp_path / name)
    with pytest.raises(ConfigError, match='does not exist'):
        model.predict_file(tmp_path / 'missing.png')


def test_other_predictions_are_refused(tmp_path, picture, monkeypatch):
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    model, _ = model_of(SEG, tmp_path)
    depths = SegDataSample(pred_depth_map=PixelData(data=torch.zeros(1, 2, 2)))
    monkeypatch.setattr(model.model, 'test_step', lambda data: [depths])
    with pytest.raises(ConfigError, match="'pred_depth_map'.* not pred_sem"):
        model.predict_file(picture)


def test_objects_without_boxes_have_those_of_their_masks(
    tmp_path, picture, monkeypatch
):
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    model, _ = model_of(DET, tmp_path)
    masks = torch.zeros(1, 8, 9, dtype=torch.bool)
    masks[0, 2:5, 3:7] = True
    found = InstanceData(
        masks=masks,
        labels=torch.tensor([1]),
        scores=torch.tensor([0.5]),
        bboxes=torch.zeros(1, 4),
    )
    sample = DetDataSample(pred_instances=found)
    monkeypatch.setattr(model.model, 'test_step', lambda data: [sample])
    assert model.predict_file(picture)[1].boxes.tolist() == [[3, 2, 7, 5]]


def test_weights_must_be_complete(tmp_path):
    cfg = load(CLS)
    checkpoint = save_random_weights(cfg, tmp_path)
    weights = torch.load(checkpoint)['state_dict']
    del weights['head.fc2.bias']
    torch.save(weights, tmp_path / 'part.pth')
    with pytest.raises(ConfigError, match='lacks 1 tensors.*head.fc2.bias'):
        ToolboxModel(cfg, str(tmp_path / 'part.pth'))
    with pytest.raises(ConfigError, match="'none.pth' does not exist"):
        ToolboxModel(cfg, 'none.pth')
    with pytest.raises(ConfigError, match="device 'tpux' cannot be used"):
        ToolboxModel(cfg, checkpoint, 'tpux')
    cfg.test_dataloader.dataset.pipeline.pop(0)
    with pytest.raises(ConfigError, match='must have a step that reads'):
        ToolboxModel(cfg, checkpoint)
    cfg.default_scope = 'mmocr'
    with pytest.raises(ConfigError, match="default_scope='mmocr'"):
        ToolboxModel(cfg, checkpoint)


def test_models_of_different_toolboxes_take_turns(tmp_path, picture):
    (tmp_path / 'seg').mkdir()
    first, _ = model_of(CLS, tmp_path)
    second, _ = model_of(SEG, tmp_path / 'seg')
    before = first.predict_file(picture)[1]
    second.predict_file(picture)
    init_default_scope('mmdet')
    after = first.predict_file(picture)[1]
    np.testing.assert_array_equal(before.scores, after.scores)
