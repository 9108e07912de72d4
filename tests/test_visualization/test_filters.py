# Copyright (c) mmfft authors. All rights reserved.
import numpy as np
import pytest
import torch
from config_files import ROOT, load
from mmengine.registry import MODELS
from PIL import Image
from random_weights import save_random_weights

from mmfft.engine import build_model
from mmfft.errors import ConfigError
from mmfft.layers import DynamicFilter, GlobalFilter
from mmfft.ops import spectral_filter
from mmfft.visualization.filters import (
    Seen,
    draw_filters,
    filter_layers,
    read_filters,
    save_picture,
    see_image,
    spectrum_and_kernel,
    watch,
)

DEMO = 'configs/demo/'
CLS = DEMO + 'cdfformer-nano_1xb32-6e_digit-crops.py'
DET = DEMO + 'mask-rcnn_cdfformer-nano_fpn_1xb4-3e_digit-scenes.py'
SEG = DEMO + 'cdfformer-nano_fpn_1xb2-2k_digit-scenes-192x256.py'
TINY = dict(embed_dims=[8, 8, 16, 16], depths=[1, 1, 2, 1])
PYRAMID = dict(**TINY, layer_scale=1e-2)


def backbone(kind, arch=TINY, **kwargs):
    return MODELS.build(
        dict(type=f'mmfft.{kind}', arch=arch, img_size=64, **kwargs)
    )


@pytest.fixture
def picture(tmp_path):
    """A file with an image of noise, and its pixels."""
    pixels = np.random.default_rng(0).integers(
        0, 256, (64, 64, 3), dtype=np.uint8
    )
    Image.fromarray(pixels).save(tmp_path / 'noise.png')
    return tmp_path / 'noise.png', pixels


# --------------------------------------------------------------- the numbers


@pytest.mark.parametrize('grid', [(5, 6), (4, 7), (1, 2)])
def test_kernel_is_what_the_filter_does_to_a_point(grid):
    rows, columns = grid
    # As learned: not Hermitian.
    filters = torch.randn(rows, columns // 2 + 1, 3, 2, dtype=torch.float64)
    spectrum, kernel = spectrum_and_kernel(filters, grid)
    assert spectrum.shape == kernel.shape == (3, *grid)
    point = torch.zeros(1, *grid, 3, dtype=torch.float64)
    centre = (rows // 2, columns // 2)
    point[0, centre[0], centre[1]] = 1
    answer = spectral_filter(point, filters)[0].permute(2, 0, 1)
    torch.testing.assert_close(kernel, answer)
    # The gain for constant features, in the middle.
    gain = spectrum[(slice(None), *centre)]
    torch.testing.assert_close(gain.real, kernel.sum((1, 2)))
    torch.testing.assert_close(gain.real, filters[0, 0, :, 0])
    # A negative frequency is its positive one's conjugate.
    whole = torch.fft.ifftshift(spectrum, dim=(1, 2))
    mirrored = whole.flip(1, 2).roll((1, 1), (1, 2)).conj()
    torch.testing.assert_close(whole, mirrored)


def test_filters_as_an_image_makes_them():
    torch.manual_seed(0)
    model = torch.nn.Module()
    model.backbone = torch.nn.Sequential(DynamicFilter(6, (4, 4)))
    model.data_preprocessor = torch.nn.Identity()
    layer = model.backbone[0]
    layer.reweight.fc2.weight.data *= 50  # far from even
    x = torch.randn(1, 5, 7, 6)
    with watch(model) as seen:
        expected = layer(x)
        # Only images pass through the whole backbone.
        assert seen.image is None
    (filters,) = read_filters(model, seen=seen)
    assert (filters.grid, filters.stored) == ((5, 7), (4, 4))
    assert filters.routing.sum(0) == pytest.approx(np.ones(12), abs=1e-6)
    generated = filters.of_channels(range(12)).float()
    hidden = layer.act1(layer.pwconv1(x))
    again = layer.pwconv2(spectral_filter(hidden, generated))
    torch.testing.assert_close(again, expected, atol=1e-5, rtol=1e-4)
    assert not layer._forward_pre_hooks


@pytest.mark.parametrize('boundary', ['zero', 'reflect'])
def test_filters_are_shown_on_the_grid_of_the_features(boundary):
    layer = GlobalFilter(3, (4, 6), boundary=boundary)
    circular = GlobalFilter(3, (4, 6))
    circular.load_state_dict(layer.state_dict())
    for seen in (None, Seen(grids={'': (5, 8)})):
        (ours,), (expected,) = (
            read_filters(one, seen=seen) for one in (layer, circular)
        )
        assert ours.grid == expected.grid
        torch.testing.assert_close(ours.filters, expected.filters)


@pytest.mark.parametrize(
    'kind, arch, layers',
    [
        ('GFNet', dict(embed_dim=8, depth=5), 5),
        ('GFNetPyramid', PYRAMID, 5),
        ('GFFormer', TINY, 5),
        ('DFFormer', TINY, 5),
        ('CDFFormer', TINY, 3),
    ],
)
def test_every_backbone(kind, arch, layers):
    model = backbone(kind, arch)
    assert len(filter_layers(model)) == layers
    filters = read_filters(model)
    assert len(filters) == min(layers, 4)
    first, last = filters[0], filters[-1]
    assert last.name == list(filter_layers(model))[-1]
    for one in (first, last):
        rows, columns = one.grid
        assert one.filters.shape[:2] == (rows, columns // 2 + 1)
    assert draw_filters(filters[:1], channels=1).std() > 0


def test_layers_by_name():
    model = backbone('CDFFormer')
    names = list(filter_layers(model))
    assert names == [
        f'stages.{stage}.{block}.token_mixer'
        for stage, block in [(2, 0), (2, 1), (3, 0)]
    ]
    assert list(filter_layers(model, ['stages.2'])) == names[:2]
    assert (
        list(filter_layers(model, ['*.0.token_mixer', names[0]]))
        == (names[::2])
    )
    with pytest.raises(ConfigError, match='SepConv, a convolution in space'):
        filter_layers(model, ['stages.0'])
    with pytest.raises(ConfigError, match="'stage.2': no layer of this name"):
        filter_layers(model, ['stage.2'])
    mixers = ['AFNO2D'] * 4
    with pytest.raises(ConfigError, match='has no filter to draw; AFNO2D is'):
        filter_layers(backbone('DFFormer', token_mixers=mixers))


@pytest.mark.parametrize('config, side', [(CLS, 64), (DET, 192), (SEG, 64)])
def test_image_as_each_toolbox_loads_it(config, side, picture):
    path, pixels = picture
    cfg = load(config)
    model = build_model(cfg)
    seen = see_image(model, cfg, path)
    assert seen.image.shape == (side, side, 3)
    layer = 'backbone.stages.2.0.token_mixer'
    assert seen.grids[layer] == (side // 16, side // 16)
    assert seen.routing[layer].shape == (4, 192)
    if side == 64:  # not enlarged
        assert abs(seen.image.astype(int) - pixels).max() <= 1
    assert not model.backbone._forward_pre_hooks


# --------------------------------------------------------------- the picture


def static(transfer):
    """A layer of one static filter, real ``transfer`` on the half spectrum."""
    layer = GlobalFilter(1, (8, 8))
    layer.filter.weight.data[..., 0, 0] = transfer
    layer.filter.weight.data[..., 0, 1] = 0
    return read_filters(layer)


def area(image, colour):
    """Pixels that are as good as ``colour``."""
    return int((abs(image.astype(int) - colour).sum(2) < 12).sum())


STRONG, ZERO = (253, 231, 37), (68, 1, 84)  # the ends of viridis
TAP = (103, 0, 31)  # the end of RdBu_r


def test_pictures_show_the_filter():
    every = draw_filters(static(torch.ones(8, 5)))
    # Amplitude 1 everywhere, the kernel one tap of 64.
    panel = area(every, STRONG)
    assert panel > 5000 and area(every, ZERO) < panel / 20
    tap = area(every, TAP)
    assert panel / 100 < tap < panel / 30
    low = torch.zeros(8, 5)
    low[[0, 1, -1], :2] = 1  # 9 of 64 frequencies
    low_pass = draw_filters(static(low))
    low_panel = area(low_pass, STRONG)
    assert panel / 10 < low_panel < panel / 5
    # Its middle is where the panel of all frequencies has its middle.
    middles = [
        np.argwhere(abs(image.astype(int) - STRONG).sum(2) < 12).mean(0)
        for image in (every, low_pass)
    ]
    # Half a bin off, as the middle of an even grid is.
    assert abs(middles[0] - middles[1]).max() < 15


def test_channels_are_chosen():
    filters = read_filters(GlobalFilter(40, (4, 4)))
    wide, narrow = draw_filters(filters, 9), draw_filters(filters, [3])
    assert wide.shape[1] > narrow.shape[1]
    assert not np.array_equal(narrow, draw_filters(filters, [4]))
    with pytest.raises(
        ConfigError, match=r'channels=\[40\].*has the channels 0 to 39'
    ):
        draw_filters(filters, [40])


# ---------------------------------------------------------- the command line


def test_command(tmp_path, picture, call_tool, capsys):
    cfg = load(SEG)
    checkpoint = save_random_weights(cfg, tmp_path)
    tool = 'analysis_tools/visualize_filters.py'
    out = tmp_path / 'new' / 'filters.png'
    call_tool(
        tool, ROOT / SEG, checkpoint, '--image', picture[0],
        '--layers', 'backbone.stages.3', '--out', out, cwd=tmp_path,
    )  # fmt: skip
    assert 'stages.3.0.token_mixer: DynamicFilter, grid (2, 2)' in (
        capsys.readouterr().out
    )
    model = build_model(cfg, checkpoint)
    seen = see_image(model, cfg, picture[0])
    filters = read_filters(model, ['backbone.stages.3'], seen)
    expected = draw_filters(filters, image=seen.image)
    assert np.array_equal(np.asarray(Image.open(out)), expected)


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['none.pth'], "checkpoint 'none.pth' does not exist"),
        (['--image', 'none.png'], "image 'none.png' does not exist"),
        (['--image', 'text.png'], "image 'text.png' cannot be read"),
        (['--layers', 'neck'], "layers: 'neck': no layer of this name"),
        (['text.pth'], "it has ['weight']"),
    ],
)
def test_command_says_what_is_wrong(
    arguments, message, tmp_path, call_tool, capsys
):
    (tmp_path / 'text.png').write_text('no image')
    torch.save(dict(weight=torch.ones(1)), tmp_path / 'text.pth')
    tool = 'analysis_tools/visualize_filters.py'
    with pytest.raises(SystemExit) as stop:
        call_tool(tool, ROOT / CLS, *arguments, '--out', 'a.png', cwd=tmp_path)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'a.png').exists()


def test_only_png(tmp_path):
    with pytest.raises(ConfigError, match='must end with .png'):
        save_picture(np.zeros((2, 2, 3), np.uint8), tmp_path / 'a.jpg')
