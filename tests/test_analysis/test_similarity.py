# Copyright (c) mmfft authors. All rights reserved.
import pytest
import torch
from config_files import ROOT
from mmengine.fileio import load

from mmfft.analysis.similarity import (
    CKA,
    layer_names,
    layer_similarity,
    plot_similarity,
)
from mmfft.backbones import DFFormer
from mmfft.errors import ConfigError

ARCH = dict(embed_dims=[8, 8, 8, 8], depths=[1, 1, 2, 1])


def cka(*batches):
    estimate = CKA()
    for first, second in batches:
        estimate.add(first, second)
    return estimate.value()


@pytest.fixture
def noise():
    generator = torch.manual_seed(0)

    def make(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return make


def test_it_is_one_for_a_rotated_copy(noise):
    x = noise(32, 6)
    rotation = torch.linalg.qr(noise(6, 6))[0]
    copy = 3 * x @ rotation + noise(6)  # turned, scaled and moved
    values = cka(([x, copy], [copy, x.reshape(32, 2, 3)]))
    torch.testing.assert_close(values, torch.ones(2, 2, dtype=torch.float64))


def test_it_is_about_zero_for_independent_noise(noise):
    batches = [([noise(64, 50)], [noise(64, 20)]) for _ in range(20)]
    assert abs(cka(*batches)) < 0.02
    # A part in common lies between.
    batches = [([x], [x + noise(64, 50)]) for (x,), _ in batches]
    assert 0.2 < cka(*batches) < 0.9


def test_it_is_symmetric(noise):
    batches = [([noise(8, 5), noise(8, 3)], [noise(8, 4)]) for _ in range(3)]
    turned = [(second, first) for first, second in batches]
    torch.testing.assert_close(cka(*batches), cka(*turned).T)


def test_it_is_unbiased_hsic_as_written(noise):
    """Eq. 3 of Nguyen et al. with its matrices written out."""

    def hsic(x, y):
        n = len(x)
        k, m = x @ x.T, y @ y.T
        k.fill_diagonal_(0)
        m.fill_diagonal_(0)
        one = torch.ones(n, 1, dtype=torch.float64)
        return (
            (k @ m).trace()
            + (one.T @ k @ one) * (one.T @ m @ one) / ((n - 1) * (n - 2))
            - 2 / (n - 2) * (one.T @ k @ m @ one)
        ) / (n * (n - 3))

    pairs = [(noise(7, 5), noise(7, 9)) for _ in range(2)]
    cross, first, second = (
        sum(hsic(*(pair[i] for i in which)) for pair in pairs)
        for which in ((0, 1), (0, 0), (1, 1))
    )
    expected = cross / (first * second).sqrt()
    batches = [([x], [y]) for x, y in pairs]
    torch.testing.assert_close(cka(*batches), expected)


def test_layers_of_models(noise, tmp_path):
    torch.manual_seed(0)
    first = DFFormer(ARCH, img_size=32).eval()
    second = DFFormer(ARCH, img_size=32).eval()
    names = layer_names(first)
    assert names == [
        'stages.0.0', 'stages.1.0', 'stages.2.0', 'stages.2.1', 'stages.3.0'
    ]  # fmt: skip
    batches = [noise(8, 3, 32, 32).float() for _ in range(2)]
    same = layer_similarity(first, first, batches, names, names)
    torch.testing.assert_close(
        same.diagonal(), torch.ones(5, dtype=torch.float64)
    )
    torch.testing.assert_close(same, same.T)
    few = layer_names(second, r'stages\.[03]\.0\.token_mixer')
    assert few == ['stages.0.0.token_mixer', 'stages.3.0.token_mixer']
    values = layer_similarity(first, second, batches, names, few)
    assert values.shape == (5, 2)
    assert (values < 0.999).all()
    # The hooks are gone.
    assert not any(m._forward_hooks for m in first.modules())
    path = tmp_path / 'similarity.png'
    plot_similarity(values, ('a', names), ('b', few), path)
    assert path.stat().st_size > 1000


def test_errors(noise):
    with pytest.raises(ConfigError, match='at least 4 images, got 3'):
        CKA().add([noise(3, 2)], [noise(3, 2)])
    model = torch.nn.Sequential(torch.nn.Linear(2, 2))
    with pytest.raises(ConfigError, match='Sequential is a block'):
        layer_names(model)
    with pytest.raises(ConfigError, match="'nothing'"):
        layer_names(model, 'nothing')


def test_the_tool(call_tool, digit_scenes, tmp_path):
    config = ROOT / 'configs/demo/cdfformer-nano_1xb32-6e_digit-crops.py'
    call_tool(
        'analysis_tools/similarity.py', config, 'resnet18', '--size', 64,
        '--images', digit_scenes / 'crops' / 'train', '--count', 9,
        '--batch', 4, '--out', 'out', cwd=tmp_path,
    )  # fmt: skip
    result = load(str(tmp_path / 'out' / 'similarity.json'))
    assert result['images'] == 8  # not the ninth, alone in its batch
    assert result['first']['layers'][0] == 'stages.0.0'
    assert result['second']['layers'][0] == 'layer1.0'
    values = torch.tensor(result['cka'])
    assert values.shape == (6, 8)
    assert values.abs().max() < 1.5
    assert (tmp_path / 'out' / 'similarity.png').exists()
