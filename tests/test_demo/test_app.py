# Copyright (c) mmfft authors. All rights reserved.
"""What the demo page does, without a browser; see browser_app.py."""

import re
import runpy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from config_files import ROOT, load
from PIL import Image
from random_weights import save_random_weights

from mmfft.demo.predictor import Predictor
from mmfft.engine import build_model
from mmfft.errors import ConfigError

DEMO = 'configs/demo/'
CLS = DEMO + 'cdfformer-nano_1xb32-6e_digit-crops.py'
DET = DEMO + 'mask-rcnn_cdfformer-nano_fpn_1xb4-3e_digit-scenes.py'
SEG = DEMO + 'cdfformer-nano_fpn_1xb2-2k_digit-scenes-192x256.py'


@pytest.fixture(scope='module')
def app():
    return SimpleNamespace(**runpy.run_path(str(ROOT / 'demo' / 'app.py')))


@pytest.fixture
def picture(tmp_path):
    """A file with an image of noise, and its pixels."""
    pixels = np.random.default_rng(0).integers(
        0, 256, (64, 96, 3), dtype=np.uint8
    )
    Image.fromarray(pixels).save(tmp_path / 'noise.png')
    return str(tmp_path / 'noise.png'), pixels


def test_classification(tmp_path, picture, monkeypatch):
    path, pixels = picture
    cfg = load(CLS)
    checkpoint = save_random_weights(cfg, tmp_path)
    predictor = Predictor(cfg, checkpoint)
    shown, text = predictor.show(path)
    zoom = shown.shape[0] // 64
    assert shown.shape == (zoom * 64, zoom * 96, 3)
    model = build_model(cfg, checkpoint)
    image = torch.from_numpy(pixels[..., ::-1].copy()).permute(2, 0, 1)
    with torch.no_grad():
        batch = model.data_preprocessor(dict(inputs=[image]))['inputs']
        scores = model(batch).softmax(1)[0]
    best = int(scores.argmax())
    assert text.startswith(f'class {best} ({100 * scores[best]:.1f} %), ')
    monkeypatch.setattr('mmfft.visualization.filters.LAYERS', 1)
    filters = predictor.filters(path)
    assert filters.shape[1] > 1000 and filters.std() > 10
    assert 0 < predictor.latency(32, 48, rounds=1) < 60


@pytest.mark.parametrize('config', [DET, SEG])
def test_detection_and_segmentation(config, tmp_path, picture):
    path, pixels = picture
    cfg = load(config)
    checkpoint = save_random_weights(cfg, tmp_path)
    # The checkpoint of a training tells its classes.
    content = torch.load(checkpoint)
    classes = cfg.metainfo.classes
    palette = [(i, 90, 200 - i) for i in range(len(classes))]
    meta = dict(CLASSES=classes, PALETTE=palette)
    content['meta'] = dict(dataset_meta={k.lower(): meta[k] for k in meta})
    torch.save(content, checkpoint)
    shown, text = Predictor(cfg, checkpoint).show(path)
    zoom = shown.shape[0] // 64
    assert shown.shape == (zoom * 64, zoom * 96, 3)
    if config == DET:
        # Untrained, it is sure of nothing, and the image stays as it is.
        assert text == 'nothing with a score of 0.5 or more'
        enlarged = Image.fromarray(pixels).resize(shown.shape[1::-1])
        assert np.array_equal(shown, enlarged)
    else:
        parts = re.findall(r'(\w+) \((\d+\.\d) %\)', text)
        listed = ', '.join(f'{name} ({share} %)' for name, share in parts)
        assert text == f'pixels: {listed}'
        names, shares = zip(*((name, float(share)) for name, share in parts))
        assert set(names) <= set(classes) and len(set(names)) == len(names)
        assert list(shares) == sorted(shares, reverse=True)
        assert sum(shares) == pytest.approx(100, abs=0.06 * len(shares))


def test_what_cannot_be_shown(app, tmp_path):
    cfg = load(CLS)
    with pytest.raises(ConfigError, match="'none.pth' does not exist"):
        Predictor(cfg, 'none.pth')
    checkpoint = save_random_weights(cfg, tmp_path)
    weights = torch.load(checkpoint)['state_dict']
    del weights['head.fc2.bias']
    torch.save(weights, tmp_path / 'part.pth')
    with pytest.raises(ConfigError, match='lacks 1 tensors.*head.fc2.bias'):
        Predictor(cfg, str(tmp_path / 'part.pth'))
    models = dict(one=(str(ROOT / CLS), checkpoint))
    (tmp_path / 'broken.png').write_text('no image')
    broken = str(tmp_path / 'broken.png')
    for arguments, message in [
        (('two', broken, 64, 64), r"choose a model, one of \['one'\]"),
        (('one', None, 64, 64), 'drop an image'),
        (('one', broken, 64, 64), "'broken.png' is not an image"),
    ]:
        with pytest.raises(ConfigError, match=message):
            app.look(models, *arguments)


def test_choices(app, tmp_path):
    assert app.trained_models(tmp_path) == {}
    (tmp_path / 'det').mkdir()
    (tmp_path / 'det' / 'epoch_3.pth').touch()
    (tmp_path / 'seg').mkdir()
    # Trained under another path; of the other part the checkpoint is gone.
    for part in ('det', 'seg'):
        last = tmp_path / part / 'last_checkpoint'
        last.write_text('/elsewhere/epoch_3.pth\n')
    ((config, checkpoint),) = app.trained_models(tmp_path).values()
    assert config == str(ROOT / DET)
    assert checkpoint == str(tmp_path / 'det' / 'epoch_3.pth')


def test_samples(app, digit_scenes, tmp_path):
    samples = app.sample_images(digit_scenes)
    assert len(samples) >= 3
    assert all(
        Image.open(path).size in [(256, 192), (64, 64)] for path in samples
    )
    assert app.sample_images(tmp_path) == []
