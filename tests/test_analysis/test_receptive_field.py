# Copyright (c) mmfft authors. All rights reserved.
import pytest
import torch
from config_files import ROOT
from mmengine.fileio import load

from mmfft.analysis.receptive_field import (
    area_ratios,
    contributions,
    plot_fields,
)
from mmfft.backbones import CDFFormer, GFFormer
from mmfft.errors import ConfigError

ARCH = dict(embed_dims=[8, 8, 8, 8], depths=[1, 1, 1, 1])


@pytest.fixture(scope='module')
def images():
    return torch.randn(3, 3, 64, 64, generator=torch.manual_seed(0))


def field(backbone, images, stride):
    torch.manual_seed(0)
    model = backbone(ARCH, img_size=64).eval()
    # Standing out from the identity of the residual branches.
    for name, parameter in model.named_parameters():
        if 'filter' in name:
            torch.nn.init.normal_(parameter)
    return contributions(model, images, stride, batch=2)


def test_a_global_filter_sees_the_whole_image(images):
    seen = field(GFFormer, images, 4)
    assert seen.sum() == pytest.approx(1)
    # The stem leaves out the last pixels of a side.
    assert (seen[:62, :62] > 0).all()


def test_a_convolution_sees_its_window(images):
    seen = field(CDFFormer, images, 4)
    # Position 8 of 16: the stem's 7 pixels at stride 4 from 4 * 8 - 2, taken
    # 3 positions to each side by the mixer.
    window = torch.zeros_like(seen, dtype=torch.bool)
    window[18:49, 18:49] = True
    assert (seen[window] > 0).all()
    assert (seen[~window] == 0).all()


def test_batches_do_not_matter(images):
    torch.manual_seed(0)
    model = GFFormer(ARCH, img_size=64).eval()
    torch.testing.assert_close(
        contributions(model, images, 8, batch=1),
        contributions(model, images, 8, batch=3),
    )


def test_area_of_a_share():
    even = torch.full((10, 20), 1 / 200)
    ratios = area_ratios(even, (0.25, 1.0))
    assert ratios[0.25] == pytest.approx(0.25, abs=0.12)
    assert ratios[1.0] == 1
    point = torch.zeros(11, 11)
    point[5, 5] = 1
    assert area_ratios(point, (0.99,))[0.99] == pytest.approx(1 / 121)
    corner = torch.zeros(11, 11)
    corner[0, 0] = 1
    assert area_ratios(corner, (0.2,))[0.2] == 1


def test_errors_and_a_picture(images, tmp_path):
    model = GFFormer(ARCH, img_size=64).eval()
    with pytest.raises(ConfigError, match='not 64'):
        contributions(model, images, 64)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    with pytest.raises(ConfigError, match='no pixel'):
        contributions(model, images, 4)
    one = torch.full((4, 4), 1 / 16)
    plot_fields(dict(a={4: one}, b={4: one}), tmp_path / 'x' / 'fields.png')
    assert (tmp_path / 'x' / 'fields.png').stat().st_size > 1000


def test_the_tool(call_tool, digit_scenes, tmp_path, capsys):
    config = ROOT / 'configs/demo/cdfformer-nano_1xb32-6e_digit-crops.py'
    call_tool(
        'analysis_tools/receptive_field.py', config, 'resnet18',
        '--strides', 4, 16, '--size', 64, '--count', 2,
        '--images', digit_scenes / 'crops', '--out', 'out', cwd=tmp_path,
    )  # fmt: skip
    result = load(str(tmp_path / 'out' / 'receptive_field.json'))
    assert (result['size'], result['images']) == (64, 2)
    ours, peer = result['area_ratios'].values()
    assert set(ours) == set(peer) == {'4', '16'}
    assert ours['4']['0.99'] < ours['16']['0.99']
    assert 'resnet18, stride 16: 20 %' in capsys.readouterr().out
    assert (tmp_path / 'out' / 'receptive_field.png').exists()
