# Copyright (c) mmfft authors. All rights reserved.
"""The toolboxes' own visualizations on our backbones."""

from importlib.util import find_spec

import cv2
import numpy as np
import pytest
import torch
from config_files import ROOT, load
from mmengine.registry import VISUALIZERS
from PIL import Image
from random_weights import save_random_weights

from mmfft.engine import build_model

DEMO = 'configs/demo/'
CLS = DEMO + 'cdfformer-nano_1xb32-6e_digit-crops.py'
DET = DEMO + 'mask-rcnn_cdfformer-nano_fpn_1xb4-3e_digit-scenes.py'
SEG = DEMO + 'cdfformer-nano_fpn_1xb2-2k_digit-scenes-192x256.py'


@pytest.mark.skipif(
    not find_spec('pytorch_grad_cam'), reason='needs the extra vis'
)
def test_class_activation_map(tmp_path, call_tool, capsys):
    """mmpretrain's tool against the formula of Grad-CAM."""

    pixels = np.random.default_rng(0).integers(
        0, 256, (96, 64, 3), dtype=np.uint8
    )
    Image.fromarray(pixels).save(tmp_path / 'noise.png')
    cfg = load(CLS)
    checkpoint = save_random_weights(cfg, tmp_path)
    layer = 'backbone.stages.2.1'
    args = (
        'analysis_tools/vis_cam.py', tmp_path / 'noise.png', ROOT / CLS,
        checkpoint, '--target-layers', layer, '--target-category', 3,
        '--save-path', tmp_path / 'cam.png',
    )  # fmt: skip
    # Of a head with random numbers, nothing is drawn.
    four = ('--cfg-options', 'model.head.num_classes=4')
    with pytest.raises(SystemExit):
        call_tool(*args, *four, cwd=tmp_path)
    said = capsys.readouterr().err
    assert 'model.head.num_classes is 4, 10 in the file' in said
    call_tool(*args, cwd=tmp_path)
    shown = np.asarray(Image.open(tmp_path / 'cam.png')).astype(int)

    model = build_model(cfg, checkpoint)
    kept = []
    module = model.get_submodule(layer)
    module.register_forward_hook(lambda *args: kept.append(args[2]))
    images = torch.from_numpy(pixels[..., ::-1].copy()).permute(2, 0, 1)
    batch = model.data_preprocessor(dict(inputs=[images]), False)['inputs']
    scores = model(batch, mode='tensor')
    (features,) = kept
    assert features.shape[1:] == (6, 4, 96)
    (slope,) = torch.autograd.grad(scores[0, 3], features)
    weights = slope.mean((1, 2), keepdim=True)
    heat = (features * weights).sum(3)[0].relu().detach().numpy()
    heat = cv2.resize((heat - heat.min()) / np.ptp(heat), (64, 96))
    heat = (heat - heat.min()) / np.ptp(heat)
    colours = cv2.applyColorMap(np.uint8(255 * heat), cv2.COLORMAP_JET)
    expected = pixels / 255 + colours[..., ::-1] / 255
    expected = 255 * expected / expected.max()
    assert abs(shown - expected).mean() < 1.5


@pytest.mark.parametrize(
    'config, visualizer',
    [
        (CLS, 'mmpretrain.UniversalVisualizer'),
        (DET, 'mmdet.DetLocalVisualizer'),
        (SEG, 'mmseg.SegLocalVisualizer'),
    ],
)
def test_feature_maps(config, visualizer):
    torch.manual_seed(0)
    model = build_model(load(config))
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        feature = model.backbone(image)[-1][0]
    draw = VISUALIZERS.build(dict(type=visualizer, name=config)).draw_featmap
    mean = feature.mean(0)
    assert mean.shape == (2, 3)
    shown = draw(feature, channel_reduction='squeeze_mean')
    # The ends of the colour map jet stand where the features' ends do, to
    # one of its 256 steps.
    rows, columns = mean.shape
    top, least = (
        divmod(int(i), columns) for i in (mean.argmax(), mean.argmin())
    )
    assert shown.shape == (rows, columns, 3)
    assert shown[top].tolist() in ([128, 0, 0], [132, 0, 0])
    assert shown[least].tolist() in ([0, 0, 128], [0, 0, 132])
    # Over the image, and the strongest channels beside each other.
    picture = np.full((64, 96, 3), 128, np.uint8)
    with pytest.warns(UserWarning, match='will be interpolated'):
        over = draw(feature, picture, channel_reduction='select_max')
    assert over.shape == picture.shape and over.std() > 5
    grid = draw(
        feature,
        channel_reduction=None,
        topk=6,
        arrangement=(2, 3),
        resize_shape=(40, 60),
    )
    assert grid.shape[:2] == (80, 180) and grid.std() > 5
