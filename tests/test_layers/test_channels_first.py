# Copyright (c) mmfft authors. All rights reserved.
"""The mixers for maps (B, C, H, W), and the page that shows their use."""

import re
from pathlib import Path

import pytest
import timm
import torch
from oracle.filters import filtered
from oracle.mixers import dynamic_filter
from published_records import published_state_dict
from torch import nn

from mmfft.errors import ConfigError
from mmfft.layers import (
    DynamicFilter,
    DynamicFilter2d,
    GlobalFilter,
    GlobalFilter2d,
)
from mmfft.ops import project_hermitian, resize_filter

PAGE = Path(__file__).parents[2] / 'docs/how_to/mixers.md'
EXAMPLES = re.findall(r'```python\n(.*?)```', PAGE.read_text(), re.DOTALL)
LAYERS = {'dynamic': DynamicFilter2d, 'global': GlobalFilter2d}
LAYOUTS = (torch.contiguous_format, torch.channels_last)
SIZES = [(6, 8), (7, 5), (1, 1), (1, 9), (13, 2), (16, 31)]
every_layer = pytest.mark.parametrize('name', LAYERS)
every_layout = pytest.mark.parametrize('layout', LAYOUTS, ids=str)


def make(name, dim=4, grid=(6, 8), **kwargs):
    torch.manual_seed(0)
    layer = LAYERS[name](dim, grid, **kwargs)
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.5)
    return layer


def on_grid(half_spectrum, size):
    """A complex (H, W // 2 + 1, filters)."""
    weight = resize_filter(half_spectrum.weight, half_spectrum.size, size)
    return torch.view_as_complex(project_hermitian(weight, size))


def formula(layer, x):
    """As in the papers, on (B, C, H, W)."""
    size, x = x.shape[2:], x.movedim(1, -1)
    if isinstance(layer, GlobalFilter2d):
        y = filtered(x, on_grid(layer.filter, size))
    else:
        y = dynamic_filter(layer, x, on_grid(layer.basis, size))
    return y.movedim(-1, 1)


@every_layout
@every_layer
@pytest.mark.parametrize('size', SIZES)
def test_it_is_the_formula(name, size, layout):
    layer = make(name).double()
    x = torch.randn(2, 4, *size, dtype=torch.float64)
    x = x.contiguous(memory_format=layout).requires_grad_()
    y, expected = layer(x), formula(layer, x)
    torch.testing.assert_close(y, expected)
    assert y.is_contiguous(memory_format=layout)
    tensors = [x, *layer.parameters()]
    weights = torch.randn_like(y)
    torch.testing.assert_close(
        torch.autograd.grad(y, tensors, weights),
        torch.autograd.grad(expected, tensors, weights),
    )


@every_layout
@every_layer
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16], ids=str)
def test_half_precision(name, dtype, layout):
    layer = make(name, dim=16)
    x = torch.randn(2, 16, 9, 12).contiguous(memory_format=layout)
    expected = formula(layer.double(), x.double())
    bound = 0.03 if dtype == torch.bfloat16 else 0.004
    layer.float()
    with torch.autocast('cpu', dtype=dtype):
        under_autocast = layer(x)
    for y in (under_autocast, layer.to(dtype)(x.to(dtype))):
        assert y.is_contiguous(memory_format=layout)
        error = (y.double() - expected).norm() / expected.norm()
        assert error < bound


@every_layer
def test_in_float16_it_keeps_its_dtype(name):
    layer = make(name).half()
    assert layer(torch.randn(1, 4, 5, 6).half()).dtype == torch.float16


@pytest.mark.slow
@every_layer
def test_compiled_for_any_size(name):
    layer = make(name)
    compiled = torch.compile(
        layer, fullgraph=True, dynamic=True, backend='aot_eager'
    )
    for size in [(12, 16), (9, 20), (6, 8)]:
        for layout in LAYOUTS:
            x = torch.randn(2, 4, *size).contiguous(memory_format=layout)
            torch.testing.assert_close(compiled(x), layer(x))
    torch.compiler.reset()


@every_layer
def test_transforms(name):
    layer = make(name)
    x = torch.randn(3, 2, 4, 5, 7)
    torch.testing.assert_close(
        torch.func.vmap(layer)(x), torch.stack([layer(part) for part in x])
    )
    traced = torch.fx.symbolic_trace(layer)
    for layout in LAYOUTS:
        y = traced(x[0].contiguous(memory_format=layout))
        assert y.is_contiguous(memory_format=layout)
        torch.testing.assert_close(y, layer(x[0]))


@every_layer
def test_a_state_dict_of_another_grid(name):
    source, target = make(name), make(name, grid=10)
    target.load_state_dict(source.state_dict())
    half_spectrum = target.basis if name == 'dynamic' else target.filter
    assert half_spectrum.size == (10, 10)
    x = torch.randn(1, 4, 10, 10)
    torch.testing.assert_close(target(x), source(x))


@every_layer
@pytest.mark.parametrize('grid', [0, (3,), 2.5, (4, -1), None])
def test_a_wrong_grid(name, grid):
    with pytest.raises(ConfigError, match='grid must be a positive int or'):
        make(name, grid=grid)


def test_one_number_is_a_square_in_every_layer():
    for layer in (DynamicFilter(4, 6), GlobalFilter(4, 6)):
        assert layer(torch.randn(1, 6, 6, 4)).shape == (1, 6, 6, 4)


@every_layer
def test_a_wrong_input(name):
    with pytest.raises(ValueError, match=r'shape \(B, C, H, W\), got \(4, 6'):
        make(name)(torch.randn(4, 6, 8))


def run_example(word):
    (text,) = (text for text in EXAMPLES if word in text)
    names = {}
    exec(text, names)
    return names


def learns(model, shape, steps=12):
    """The loss of a fixed task falls."""
    torch.manual_seed(0)
    x = torch.randn(shape)
    with torch.no_grad():
        target = torch.randn_like(model(x))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(steps):
        loss = (model(x) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    for name, parameter in model.named_parameters():
        assert parameter.grad.isfinite().all(), name
    return losses[-1] < losses[0]


def test_there_are_no_other_examples():
    assert len(EXAMPLES) == 4


def test_unet_block():
    names = run_example('GlobalUNetBlock')
    assert names['y'].shape == (2, 32, 64, 64)
    assert learns(names['block'], (2, 3, 24, 40))


def test_convnext_block():
    names = run_example('GlobalConvNeXtBlock')
    assert names['y'].shape == (2, 96, 20, 14)
    assert learns(names['block'], (2, 96, 10, 14))


def test_a_backbone_with_published_weights(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    published = published_state_dict('dfformer_s18')
    torch.save(dict(model=published), 'dfformer_s18.pth')
    with caplog.at_level('INFO', logger='mmfft'):
        names = run_example('load_checkpoint_file')
    assert [names[f'c{i}'].shape[2] for i in (3, 4, 5)] == [64, 32, 16]
    # Only dense prediction has output norms.
    assert all(k.startswith('norm') for k in names['result'].missing_keys)
    stem = names['backbone'].downsample_layers[0].conv.weight
    assert torch.equal(stem, published['downsample_layers.0.conv.weight'])
    assert 'resized: 3 HalfSpectrum from 56x56 to 128x128' in caplog.text


def test_a_stage_of_a_timm_model():
    names = run_example('layer3')
    assert names['logits'].shape == names['larger'].shape == (2, 10)
    model = names['model']
    assert learns(model, (4, 3, 64, 64), steps=4)
    # What was not replaced keeps its name for pretrained weights.
    plain = timm.create_model('resnet18', num_classes=10).state_dict()
    left = {k for k in plain if k not in model.state_dict()}
    assert left == {f'layer3.1.conv{i}.weight' for i in (1, 2)}
