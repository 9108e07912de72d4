# Copyright (c) mmfft authors. All rights reserved.
import pytest
import torch
from mmpretrain.structures import DataSample

from mmfft.errors import ConfigError
from mmfft.heads import MlpHead


def norm(x, layer, eps):
    x = x - x.mean(-1, keepdim=True)
    x = x / (x.square().mean(-1, keepdim=True) + eps).sqrt()
    return x * layer.weight + layer.bias


def test_it_is_the_published_formula():
    head = MlpHead(5, 8).double().eval()
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    x = torch.randn(3, 8, dtype=torch.float64)
    hidden = norm(x, head.pre_norm, 1e-6) @ head.fc1.weight.T + head.fc1.bias
    hidden = norm(hidden.clamp(min=0) ** 2, head.norm, 1e-5)
    expected = hidden @ head.fc2.weight.T + head.fc2.bias
    torch.testing.assert_close(head((x,)), expected)
    torch.testing.assert_close(head((None, x)), expected)
    assert head.fc1.weight.shape == (32, 8)


def test_it_learns_and_predicts_as_mmpretrain_heads_do():
    head = MlpHead(5, 8, dropout=0.5)
    samples = [DataSample().set_gt_label(label) for label in (1, 4)]
    feats = (torch.randn(2, 8),)
    head.loss(feats, samples)['loss'].backward()
    assert all(p.grad is not None for p in head.parameters())
    predicted = head.eval().predict(feats, samples)
    assert predicted[0].pred_score.sum().item() == pytest.approx(1)


def test_no_classes():
    with pytest.raises(ConfigError, match='num_classes .* 0'):
        MlpHead(0, 8)
