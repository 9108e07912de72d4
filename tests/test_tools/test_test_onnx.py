# Copyright (c) mmfft authors. All rights reserved.
"""An exported file is tested as its checkpoint is, in each toolbox."""

import re

import pytest
import torch
from config_files import load
from conftest import ROOT, small_data
from mmengine.fileio import load as load_results
from pycocotools import mask
from random_weights import save_random_weights
from tiny_detectors import save_sure_weights

from mmfft.deploy import export, load_network

pytestmark = pytest.mark.slow

CLS = 'configs/demo/cdfformer-nano_1xb32-6e_digit-crops.py'
DET = 'configs/demo/mask-rcnn_cdfformer-nano_fpn_1xb4-3e_digit-scenes.py'
SEG = 'configs/demo/cdfformer-nano_fpn_1xb2-2k_digit-scenes-192x256.py'


@pytest.fixture
def both(tmp_path, call_tool, digit_scenes):
    """Function that exports and tests; metrics and predictions of each."""

    def run(config, dynamic, **changes):
        cfg = load(config)
        cfg.merge_from_dict(changes)
        is_detector = cfg.default_scope == 'mmdet'
        save = save_sure_weights if is_detector else save_random_weights
        weights = save(cfg, tmp_path)
        network = load_network(cfg, weights)
        export(network, tmp_path / 'm.onnx', network.img_size, dynamic)
        results = []
        for tool, model in [
            ('test.py', weights),
            ('deployment/test_onnx.py', 'm.onnx'),
        ]:
            out = [
                tmp_path / f'{len(results)}.{end}' for end in ('json', 'pkl')
            ]
            call_tool(
                *(tool, ROOT / config, model, '--out', *out, '--cfg-options'),
                *small_data(cfg.default_scope, digit_scenes),
                *(f'{key}={value}' for key, value in changes.items()),
                cwd=tmp_path,
            )
            results.append([load_results(path) for path in out])
        return results

    return run


def test_a_classifier(both):
    (metrics, samples), (others, other_samples) = both(CLS, dynamic=True)
    assert others == metrics
    for one, other in zip(samples, other_samples, strict=True):
        assert other['pred_score'] == pytest.approx(
            one['pred_score'], abs=1e-6
        )


@pytest.mark.parametrize('mode', ['whole', 'slide'])
def test_a_segmentor(both, mode):
    changes = {'model.test_cfg.mode': mode}
    if mode == 'slide':
        size = {'model.backbone.img_size': (96, 128)}
        window = dict(crop_size=(96, 128), stride=(64, 96))
        changes |= size | {
            f'model.test_cfg.{key}': value for key, value in window.items()
        }
    results = both(SEG, dynamic=False, **changes)
    (metrics, samples), (others, other_samples) = results
    assert others == pytest.approx(metrics, abs=0.01)
    for one, other in zip(samples, other_samples, strict=True):
        one, other = (s['pred_sem_seg']['data'] for s in (one, other))
        assert (one == other).float().mean() > 0.999


def test_a_detector(both):
    (_, samples), (_, other_samples) = both(DET, dynamic=True)
    for one, other in zip(samples, other_samples, strict=True):
        one, other = (s['pred_instances'] for s in (one, other))
        assert len(one['labels']) == len(other['labels']) > 5
        distances = (one['bboxes'][:, None] - other['bboxes']).abs()
        distances = distances.amax(-1)
        distances[one['labels'][:, None] != other['labels']] = torch.inf
        nearest, order = distances.min(1)
        assert nearest.max() < 1e-3
        torch.testing.assert_close(one['scores'], other['scores'][order])
        masks = (mask.decode(found['masks']) for found in (one, other))
        assert (next(masks) == next(masks)[..., order]).mean() > 0.999


@pytest.mark.parametrize(
    'config, classes, message',
    [
        (SEG, '0123456789', 'for classification, .* config for segmentation'),
        (CLS, 'abcdefg', "classes 'a', .*, 'e' and 2 more, .* '0', '1'"),
    ],
)
def test_a_file_for_something_else(
    config, classes, message, tmp_path, call_tool, digit_scenes, capsys
):
    cfg = load(CLS)
    network = load_network(cfg, save_random_weights(cfg, tmp_path))
    network.metadata['classes'] = tuple(classes)
    export(network, tmp_path / 'm.onnx', (64, 64))
    small = small_data(load(config).default_scope, digit_scenes)
    with pytest.raises(SystemExit) as end:
        call_tool(
            *('deployment/test_onnx.py', ROOT / config, 'm.onnx'),
            *('--cfg-options', *small),
            cwd=tmp_path,
        )
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert re.search(f'test_onnx.py: error: .*{message}', said)
