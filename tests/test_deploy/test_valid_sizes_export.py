# Copyright (c) mmfft authors. All rights reserved.
"""A graph of an image without padding is the model with valid sizes."""

import numpy as np
import pytest
import torch
from config_files import load
from random_weights import save_random_weights
from tiny_detectors import mask_rcnn, predict, save_sure_weights

from mmfft.deploy import (
    compare,
    export,
    load_network,
    loading,
    open_parts,
    open_session,
)
from mmfft.deploy.detectors import FasterRCNN
from mmfft.runtime.objects import place_objects

SEG = 'configs/demo/cdfformer-nano_fpn_1xb2-2k_digit-scenes-192x256.py'
SIZES = [(52, 70), (81, 65)]


def with_sizes(cfg, name, **kwargs):
    cfg.model.data_preprocessor.update(type=f'mmfft.{name}', **kwargs)
    return cfg


@pytest.fixture(scope='module')
def detector(tmp_path_factory):
    """A detector that hides the padding from its backbone, and its file."""
    folder = tmp_path_factory.mktemp('detector')
    weights = save_sure_weights(mask_rcnn(), folder)
    cfg = with_sizes(mask_rcnn(), 'DetDataPreprocessor', pad_size_divisor=1)
    network = load_network(cfg, weights)
    path = folder / 'm.onnx'
    export(network, path, (64, 96), dynamic=True)
    return network, path


def test_the_file_asks_for_no_padding_and_the_log_says_why(
    monkeypatch, tmp_path
):
    logged = []
    monkeypatch.setattr(
        loading, 'print_log', lambda text, **kwargs: logged.append(text)
    )
    weights = save_sure_weights(mask_rcnn(), tmp_path)
    plain = load_network(mask_rcnn(), weights)
    assert plain.metadata['padding'] == dict(divisor=32, value=0)
    assert not logged
    cfg = with_sizes(mask_rcnn(), 'DetDataPreprocessor')
    network = load_network(cfg, weights)
    # Although pad_size_divisor is still 32.
    assert 'padding' not in network.metadata
    assert 'unknown_steps' not in network.metadata
    (text,) = logged
    assert 'mmfft.DetDataPreprocessor tells the backbone' in text
    assert 'give it images without padding' in text


def test_a_segmentor_asks_for_no_padding(tmp_path):
    cfg = load(SEG)
    weights = save_random_weights(cfg, tmp_path)
    test_cfg = dict(size_divisor=32)
    cfg.model.data_preprocessor.test_cfg = test_cfg
    assert load_network(cfg, weights).metadata['padding']['divisor'] == 32
    network = load_network(with_sizes(cfg, 'SegDataPreProcessor'), weights)
    assert not {'padding', 'unknown_steps'} & set(network.metadata)


def batch_of_two(model):
    """Two images of different sizes through the data preprocessor."""
    from mmdet.structures import DetDataSample

    torch.manual_seed(1)
    images = [torch.randint(256, (3, *s), dtype=torch.uint8) for s in SIZES]
    samples = [
        DetDataSample(
            metainfo=dict(
                img_shape=size, ori_shape=size, scale_factor=(1.0, 1.0)
            )
        )
        for size in SIZES
    ]
    return images, dict(inputs=images, data_samples=samples)


def test_the_graph_is_the_model_with_valid_sizes(detector):
    network, path = detector
    model = network.model
    images, data = batch_of_two(model)
    batch = model.data_preprocessor(data)['inputs']
    assert batch.shape[2:] == (81, 70)
    with torch.no_grad():
        together = model.backbone(batch)
    session = open_session(path)
    for i, image in enumerate(images):
        size = SIZES[i]
        alone = model.data_preprocessor(
            dict(inputs=[image], data_samples=[data['data_samples'][i]])
        )['inputs']
        # Unpadded, as pad_size_divisor=1 has it.
        assert alone.shape[2:] == size
        # The backbone computes of it what it computes in the batch.
        with torch.no_grad():
            for features, padded in zip(model.backbone(alone), together):
                rows, columns = features.shape[2:]
                torch.testing.assert_close(
                    features[0],
                    padded[i, :, :rows, :columns],
                    atol=1e-5,
                    rtol=1e-5,
                )
        objects_agree(session, network, alone, size)


def objects_agree(session, network, image, size):
    names = network.final_outputs
    inputs = dict(input=image.numpy(), image_size=np.array(size))
    outputs = session.run(list(names), inputs)
    found = place_objects(
        {name: out[0] for name, out in zip(names, outputs)},
        *(size, size, 0.5),
    )
    (expected,) = predict(network.model, image, size)
    assert len(expected) > 5
    # Equal scores may change places.
    assert sorted(found['labels']) == sorted(expected.labels.tolist())
    for ours, theirs in [
        (found['scores'], expected.scores),
        (found['boxes'].mean(1), expected.bboxes.mean(1)),
    ]:
        np.testing.assert_allclose(
            np.sort(ours), np.sort(theirs.numpy()), atol=1e-3
        )


def test_a_head_that_proposes_nothing_in_the_padding(tmp_path):
    weights = save_sure_weights(mask_rcnn(masks=False), tmp_path)
    cfg = mask_rcnn(masks=False)
    cfg.model.rpn_head.type = 'mmfft.RPNHead'
    network = load_network(cfg, weights)
    assert type(network) is FasterRCNN
    path = tmp_path / 'm.onnx'
    export(network, path, (64, 96), dynamic=True)
    torch.manual_seed(1)
    image = torch.randn(1, 3, 75, 138)
    size = (50, 61)
    objects_agree(open_session(path), network, image, size)
    # mmdet's own head finds others.
    (ours,) = predict(network.model, image, size)
    plain = load_network(mask_rcnn(masks=False), weights).model
    (theirs,) = predict(plain, image, size)
    assert len(ours) != len(theirs) or not torch.allclose(
        ours.scores, theirs.scores, atol=1e-3
    )


def test_a_detector_of_another_boundary(tmp_path):
    def make():
        cfg = mask_rcnn()
        cfg.model.backbone.boundary = 'zero'
        return cfg

    weights = save_sure_weights(make(), tmp_path)
    network = load_network(make(), weights)
    path = tmp_path / 'm.onnx'
    export(network, path, (64, 96), dynamic=True)
    parts = open_parts(path, network)
    for shape in [(1, 64, 96), (2, 71, 90)]:
        for session, part in parts:
            assert compare(session, part, shape) < 1e-5, (shape, type(part))
    # It is not the circular one.
    circular = mask_rcnn()
    session, part = parts[0]
    other = type(part)(load_network(circular, weights).model)
    assert compare(session, other, (1, 64, 96)) > 1e-3
