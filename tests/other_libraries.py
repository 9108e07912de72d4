# Copyright (c) mmfft authors. All rights reserved.
"""Our models of timm within libraries that take their encoders from there.

`make test-core` runs it, where there is no OpenMMLab: mmpretrain is not whole
beside transformers 5.
"""

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import FeaturePyramidNetwork
from transformers import TimmBackbone, TimmBackboneConfig

import mmfft.timm_models  # noqa: F401, registers the names


@pytest.mark.parametrize('name', ['cdfformer_nano', 'gfnet_h_nano'])
@pytest.mark.parametrize('depth', [3, 5])
def test_segmentation_models(name, depth):
    model = smp.Unet(
        f'tu-{name}',
        encoder_weights=None,
        encoder_depth=depth,
        decoder_channels=(32, 24, 16, 12, 8)[:depth],
        in_channels=4,
        classes=3,
    )
    images = torch.randn(2, 4, 64, 96)
    logits = model(images)
    assert logits.shape == (2, 3, 64, 96)
    logits.square().mean().backward()
    assert all(p.grad is not None for p in model.parameters())
    levels = model.encoder(images)[2:]
    strides = [4, 8, 16, 32][: depth - 1]
    assert [64 // level.shape[2] for level in levels] == strides
    # Sides that are no multiples of a stride.
    odd = model(torch.randn(2, 4, 69, 95))
    assert odd.shape == (2, 3, 69, 95)


class Pyramid(torch.nn.Module):
    def __init__(self, name):
        super().__init__()
        self.body = timm.create_model(name, features_only=True, img_size=96)
        channels = self.body.feature_info.channels()
        self.out_channels = 16
        self.fpn = FeaturePyramidNetwork(channels, self.out_channels)

    def forward(self, x):
        return self.fpn({str(i): f for i, f in enumerate(self.body(x))})


def test_a_detector_of_torchvision():
    torch.manual_seed(0)
    detector = FasterRCNN(
        Pyramid('cdfformer_nano'),
        num_classes=3,
        min_size=96,
        max_size=128,
        rpn_anchor_generator=AnchorGenerator(
            ((16,), (32,), (64,), (96,)), ((0.5, 1.0, 2.0),) * 4
        ),
    )
    # Of different sizes, which the detector resizes and pads.
    images = [torch.rand(3, 80, 100), torch.rand(3, 97, 61)]
    boxes = torch.tensor([[10.0, 12.0, 40.0, 50.0]])
    truth = [dict(boxes=boxes, labels=torch.tensor([1]))] * 2
    losses = detector(images, truth)
    sum(losses.values()).backward()
    grads = [p.grad for p in detector.backbone.body.parameters()]
    assert all(grad is not None and grad.isfinite().all() for grad in grads)
    with torch.no_grad():
        found = detector.eval()(images)
    assert [set(one) for one in found] == [{'boxes', 'labels', 'scores'}] * 2
    assert all(one['boxes'].isfinite().all() for one in found)


@pytest.mark.parametrize(
    'out_indices, levels', [(None, [3]), ((0, 2), [0, 2]), ((-2,), [2])]
)
def test_a_backbone_of_transformers(out_indices, levels):
    config = TimmBackboneConfig(
        backbone='cdfformer_nano',
        use_pretrained_backbone=False,
        out_indices=out_indices,
        output_stride=32,
    )
    torch.manual_seed(0)
    backbone = TimmBackbone(config).eval()
    torch.manual_seed(0)
    ours = timm.create_model('cdfformer_nano').eval()
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        maps = backbone(images).feature_maps
        expected = ours.forward_intermediates(
            images, levels, intermediates_only=True
        )
    assert len(maps) == len(levels)
    for found, level in zip(maps, expected):
        torch.testing.assert_close(found, level)
    assert backbone.channels == [level.shape[1] for level in expected]
