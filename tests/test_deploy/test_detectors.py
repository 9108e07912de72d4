# Copyright (c) mmfft authors. All rights reserved.
"""Exported detectors find what mmdet finds."""

import numpy as np
import onnx
import pytest
import torch
from tiny_detectors import mask_rcnn, predict, retinanet, save_sure_weights

from mmfft.deploy import (
    compare,
    export,
    load_network,
    open_parts,
    open_session,
)
from mmfft.deploy.detectors import (
    FasterRCNN,
    Features,
    MaskRCNN,
    RetinaNet,
    detector,
)
from mmfft.engine import build_model
from mmfft.runtime.objects import place_objects

DETECTORS = {
    'retinanet': (retinanet, RetinaNet),
    'faster-rcnn': (lambda: mask_rcnn(masks=False), FasterRCNN),
    'mask-rcnn': (mask_rcnn, MaskRCNN),
}


@pytest.fixture(scope='module', params=DETECTORS)
def exported(request, tmp_path_factory):
    """A detector and its file."""
    folder = tmp_path_factory.mktemp(request.param)
    make, cls = DETECTORS[request.param]
    cfg = make()
    network = load_network(cfg, save_sure_weights(cfg, folder))
    assert type(network) is cls
    path = folder / 'm.onnx'
    export(network, path, (64, 96), dynamic=True)
    return network, path


def test_parts_compute_what_pytorch_does(exported):
    network, path = exported
    parts = open_parts(path, network)
    assert len(parts) == len(network.kinds)
    for shape in [(1, 64, 96), (2, 65, 90)]:
        for session, part in parts:
            assert compare(session, part, shape) < 1e-5, (shape, type(part))


@pytest.mark.parametrize('batch, size', [(1, (64, 96)), (3, (75, 138))])
def test_objects_are_those_of_mmdet(exported, batch, size):
    network, path = exported
    torch.manual_seed(1)
    image = torch.randn(batch, 3, *size)
    # The images end within their tensors.
    inner = size[0] - 5, size[1] - 11
    inputs = dict(input=image.numpy(), image_size=np.array(inner))
    names = network.final_outputs
    outputs = open_session(path).run(list(names), inputs)
    for i, expected in enumerate(predict(network.model, image, inner)):
        found = place_objects(
            {name: out[i] for name, out in zip(names, outputs)},
            *(inner, inner, 0.5),
        )
        assert len(expected) > 5 and len(expected.labels.unique()) > 1
        assert len(found['labels']) == len(expected)
        # Those with the same score, but for a rounding error, change places.
        distances = abs(found['boxes'][:, None] - expected.bboxes.numpy())
        distances = distances.max(-1)
        distances[found['labels'][:, None] != expected.labels.numpy()] = 1e9
        order = distances.argmin(0)
        found = {name: values[order] for name, values in found.items()}
        np.testing.assert_array_equal(found['labels'], expected.labels)
        np.testing.assert_allclose(found['boxes'], expected.bboxes, atol=1e-3)
        np.testing.assert_allclose(found['scores'], expected.scores, atol=1e-5)
        if 'masks' in names:
            assert expected.masks.any()
            assert (found['masks'] == expected.masks.numpy()).mean() > 0.9999


def test_shapes_are_inferred(exported, infer_shapes):
    infer_shapes(onnx.load(exported[1]))


def test_an_image_without_objects(exported):
    network, path = exported
    session = open_session(path)
    size = np.array([0, 0])
    # All boxes are clipped to nothing.
    image = np.zeros((2, 3, 64, 96), np.float32)
    outputs = session.run(None, dict(input=image, image_size=size))
    dets, labels = outputs[:2]
    assert (labels == -1).all() and not dets.any()


def test_half_is_close(tmp_path):
    cfg = mask_rcnn()
    network = load_network(cfg, save_sure_weights(cfg, tmp_path))
    path = tmp_path / 'half.onnx'
    export(network, path, (64, 96), half=True)
    for session, part in open_parts(path, network):
        assert compare(session, part, (1, 64, 96)) < 2e-2, type(part)
    outputs = open_session(path).get_outputs()
    assert [out.type for out in outputs] == [
        'tensor(float)',
        'tensor(int64)',
        'tensor(float)',
    ]


def other(part, **changes):
    def change(model):
        for name in part.split('.'):
            model = model[name]
        model.update(changes)

    return change


@pytest.mark.parametrize(
    'change, message',
    [
        (
            other('rpn_head.loss_cls', use_sigmoid=False),
            'use_sigmoid=False',
        ),
        (other('rpn_head.bbox_coder', clip_border=False), 'clip_border=False'),
        (other('test_cfg.rpn', nms_pre=-1), 'nms_pre=-1'),
        (
            other('test_cfg.rcnn', nms=dict(type='soft_nms', min_score=0.1)),
            'soft_nms',
        ),
        (other('test_cfg.rcnn', max_per_img=-1), 'max_per_img'),
        (
            other('roi_head.bbox_roi_extractor', type='GenericRoIExtractor'),
            'GenericRoIExtractor is not a SingleRoIExtractor',
        ),
        (
            other('roi_head.mask_roi_extractor.roi_layer', pool_mode='max'),
            "pool_mode='max'",
        ),
    ],
)
def test_other_detectors_are_features(change, message):
    cfg = mask_rcnn()
    change(cfg.model)
    network = detector(build_model(cfg))
    assert type(network) is Features
    assert message in network.metadata['features_because']
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        outputs = network.named_outputs(image)
        expected = network.model.extract_feat(image)
    assert list(outputs) == [f'feature_{level}' for level in range(5)]
    for out, level in zip(outputs.values(), expected, strict=True):
        torch.testing.assert_close(out, level)


@pytest.mark.parametrize(
    'path, name',
    [
        ('', 'predict'),
        ('roi_head', 'predict_bbox'),
        ('roi_head', '_mask_forward'),
        ('roi_head.bbox_head', '_predict_by_feat_single'),
        ('roi_head.mask_head', 'predict_by_feat'),
        ('rpn_head', '_predict_by_feat_single'),
    ],
)
def test_detectors_with_methods_of_their_own_are_features(path, name):
    model = build_model(mask_rcnn())
    part = model.get_submodule(path)
    part.__class__ = type('Other', (type(part),), {name: lambda self: None})
    because = detector(model).metadata['features_because']
    assert because == f'Other has its own {name}'


def test_what_the_file_tells_of_a_detector(exported):
    network, _ = exported
    told = network.metadata
    assert told['task'] == 'detection'
    assert told['score_thr'] == 0.05 and told['iou_threshold'] == 0.5
    assert (told.get('mask_thr_binary') == 0.5) == (
        'masks' in network.final_outputs
    )
