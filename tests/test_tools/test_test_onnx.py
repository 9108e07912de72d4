# Copyright (c) mmfft authors. All rights reserved.
"""An exported file is tested as its checkpoint is, in each toolbox."""


import pytest
from config_files import load
from conftest import ROOT, small_data
from mmengine.fileio import load as load_results
from random_weights import save_random_weights

from mmfft.deploy import export, load_network

pytestmark = pytest.mark.slow

CLS = 'configs/demo/cdfformer-nano_1xb32-6e_digit-crops.py'
SEG = 'configs/demo/cdfformer-nano_fpn_1xb2-2k_digit-scenes-192x256.py'


@pytest.fixture
def both(tmp_path, call_tool, digit_scenes):
    """Function that exports and tests; metrics and predictions of each."""

    def run(config, dynamic):
        cfg = load(config)
        weights = save_random_weights(cfg, tmp_path)
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


def test_a_segmentor(both):
    (metrics, samples), (others, other_samples) = both(SEG, dynamic=False)
    assert others == pytest.approx(metrics, abs=0.01)
    for one, other in zip(samples, other_samples, strict=True):
        one, other = (s['pred_sem_seg']['data'] for s in (one, other))
        assert (one == other).float().mean() > 0.999
