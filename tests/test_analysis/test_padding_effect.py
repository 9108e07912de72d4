# Copyright (c) mmfft authors. All rights reserved.
import json
import math
from functools import partial

import pytest
import timm
import torch
import torch.nn.functional as F
from config_files import load_tiny
from random_weights import save_random_weights
from tiny_models import build
from torch import nn

from mmfft.analysis.feature_models import all_features
from mmfft.analysis.padded_predictions import Padding
from mmfft.analysis.padding_effect import (
    Network,
    change_by_distance,
    feature_table,
    load_peer,
    plot_padding_effect,
    prediction_table,
    relative_change,
    run_padding_effect,
)
from mmfft.errors import ConfigError

TOOL = 'analysis_tools/padding_effect.py'


class Convs(nn.Module):
    """Two stages of stride 2 and 4; only the second looks over the border."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.second = nn.Conv2d(8, 8, 5, stride=2, padding=2)

    def forward(self, x):
        x = self.first(x)
        return x, self.second(x)


@pytest.fixture
def images():
    torch.manual_seed(0)
    return [torch.randn(1, 3, 60, 68), torch.randn(1, 3, 64, 64)]


def measure(model, images, padding):
    return Network('a', 'random', model).measure(images, padding)


def test_a_convolution_changes_near_the_padding(images):
    row = measure(Convs(), images, Padding(8, 1.5))
    assert row['images'] == 2
    # The first stage looks at no pixel beyond an even size.
    assert row['change'][2] < 1e-6
    assert 0.01 < row['change'][4] < 0.5
    distances, changes = zip(*row['by_distance'][4])
    assert distances == tuple(range(2, 64, 4))
    assert changes[0] > 0.01
    assert max(changes[1:]) < 1e-6


def test_a_global_filter_changes_everywhere(images):
    row = measure(build('gfnet-h'), images, Padding(8, 1.5))
    assert list(row['change']) == [4, 8, 16, 32]
    for stride, points in row['by_distance'].items():
        assert len(points) >= math.ceil(60 / stride)
        assert all(change > 1e-6 for _, change in points)


@pytest.mark.parametrize('name', ['cdfformer', 'gfnet'])
def test_nothing_changes_with_valid_sizes(name, images):
    model = build(name)
    network = Network('a', 'random', model, with_sizes=True)
    row = network.measure(images, Padding(8, 1.5))
    assert max(row['change'].values()) < 1e-6
    assert max(measure(model, images, Padding(8, 1.5))['change'].values()) > 0


def test_the_figures_are_the_formulas(images):
    model = build('dfformer')
    x = images[0]
    with torch.no_grad():
        alone = all_features(model, x)[1]
        padded = all_features(model, F.pad(x, (0, 28, 0, 36)))[1]
    difference = padded[:, :, :8, :9] - alone
    assert alone.shape[2:] == (8, 9)
    expected = (difference.square().sum() / alone.square().sum()) ** 0.5
    assert relative_change(alone, padded) == pytest.approx(float(expected))
    row = measure(model, [x], Padding(96))
    assert row['change'][8] == pytest.approx(float(expected))
    # The mean of the squares of all positions is the square of that figure.
    found = change_by_distance(alone, padded, 8, (60, 68), (96, 96))
    values = torch.tensor([v for vs in found.values() for v in vs])
    torch.testing.assert_close(values.square().mean().sqrt(), expected)
    assert len(values) == 72


@pytest.mark.parametrize(
    ('to', 'counts'),
    [
        ((64, 96), range(16, 0, -2)),
        ((60, 96), [8] * 9),
        ((96, 68), [9] * 8),
    ],
)
def test_distances_are_those_from_the_padded_sides(to, counts):
    alone = torch.ones(1, 2, 8, 9)
    found = change_by_distance(alone, alone + 1, 8, (60, 68), to)
    # The last row and the last column end outside of the image.
    assert {distance: len(v) for distance, v in found.items()} == {
        8 * i + 4: count for i, count in enumerate(counts)
    }
    assert all(v == pytest.approx(1) for vs in found.values() for v in vs)


def test_images_that_are_not_padded_do_not_count(images):
    row = measure(Convs(), images, Padding(32))
    assert row['images'] == 1
    assert measure(Convs(), images[1:], Padding(32)) is None


def test_a_network_that_refuses_a_size_says_so(images):
    class Square(Convs):
        def forward(self, x):
            assert x.shape[2] == x.shape[3], f'{x.shape[2:]} is not square'
            return super().forward(x)

    row = measure(Square(), images, Padding(32))
    assert 'is not square' in row['refused']
    taken = measure(Convs(), images, Padding(32))
    lines = feature_table([row, taken]).splitlines()
    assert lines[0].startswith('| network | weights | padding | images |')
    assert lines[2] == '| a | random | multiple of 32 | refused | - | - |'
    assert lines[3].startswith('| a | random | multiple of 32 | 1 | 0 | ')

    class Grey(Convs):
        def __init__(self):
            super().__init__()
            self.first = nn.Conv2d(1, 8, 3)

    with pytest.raises(ConfigError, match='a takes images of 1 channels'):
        measure(Grey(), images, Padding(32))


def test_features_of_zero():
    zero = torch.zeros(1, 2, 4, 4)
    assert relative_change(zero, zero) == 0
    found = change_by_distance(zero, zero, 8, (32, 32), (64, 64))
    assert all(v == [0] * len(v) for v in found.values())


def test_peers_take_images_of_any_size(monkeypatch):
    small = dict(embed_dim=8, depths=(1,) * 4, num_heads=(1,) * 4)
    with monkeypatch.context() as patch:
        patch.setattr(
            timm, 'create_model', partial(timm.create_model, **small)
        )
        swin = load_peer('swin_tiny_patch4_window7_224')
    with torch.no_grad():
        maps = all_features(swin, torch.randn(1, 3, 64, 100))
        assert [m.shape[2:] for m in maps][:2] == [(16, 25), (8, 13)]
        maps = all_features(load_peer('test_vit'), torch.randn(1, 3, 64, 96))
        assert maps[0].shape[2:] == (4, 6)


def test_peers_that_cannot_be_loaded(monkeypatch):
    with pytest.raises(ConfigError, match='nothing_of_timm'):
        load_peer('nothing_of_timm')

    def fail(name, pretrained, **kwargs):
        assert pretrained
        raise OSError('no network')

    monkeypatch.setattr(timm, 'create_model', fail)
    with pytest.raises(
        ConfigError, match="--pretrained: .*'resnet18'.* no ne"
    ):
        load_peer('resnet18', pretrained=True)


def write(cfg, folder):
    path = folder / 'tiny.py'
    cfg.dump(path)
    return path


def run(call_tool, folder, *args):
    call_tool(TOOL, *args, '--device', 'cpu', '--out', 'out', cwd=folder)
    results = json.loads((folder / 'out/padding_effect.json').read_text())
    text = (folder / 'out' / 'padding_effect.md').read_text()
    assert (folder / 'out' / 'padding_effect.png').stat().st_size > 1000
    return results, text


def test_the_tool_with_a_detector(call_tool, digit_scenes, tmp_path, capsys):
    cfg = load_tiny('mmdet', digit_scenes)
    checkpoint = save_random_weights(cfg, tmp_path)
    results, text = run(
        call_tool, tmp_path, write(cfg, tmp_path), checkpoint,
        '--peers', 'test_convnext', '--count', 1, '--crop', 152, 200,
        '--neighbours', '--score-thr', 0.09,
    )  # fmt: skip
    assert text in capsys.readouterr().out
    assert results['images'] == [[152, 200]]
    ours, peer = results['features'][0], results['features'][-1]
    assert ours['weights'] == 'random.pth' and peer['weights'] == 'random'
    assert ours['padding'] == 'multiple of 32'
    assert peer['network'] == 'test_convnext'
    assert ours['change']['32'] > 0.01
    first = results['predictions'][0]
    assert first['images'] == 1
    assert first['stay'] > 0 and first['vanish'] + first['appear'] > 0
    assert first['mask_iou'][0] <= 1
    assert '| stay | vanish | appear |' in text


def test_the_tool_with_a_segmentor(call_tool, digit_scenes, tmp_path):
    cfg = load_tiny('mmseg', digit_scenes)
    checkpoint = save_random_weights(cfg, tmp_path)
    results, text = run(
        call_tool, tmp_path, write(cfg, tmp_path), checkpoint, '--peers',
        '--count', 1, '--neighbours', 1.25, 2,
    )  # fmt: skip
    found = results['predictions']
    # The scenes are multiples of 32.
    assert [(row['network'], row['padding']) for row in found] == [
        ('tiny', 'neighbour 1.25 x'),
        ('tiny', 'neighbour 2 x'),
        ('tiny, valid_sizes', 'neighbour 1.25 x'),
        ('tiny, valid_sizes', 'neighbour 2 x'),
    ]
    median, most = found[0]['changed_labels']
    assert 0 < median == most < 1
    sure = [row for row in results['features'] if 'valid' in row['network']]
    assert len(sure) == 2
    assert all(max(row['change'].values()) < 1e-6 for row in sure)
    assert '| labels that change, % |' in text


def test_a_classifier_has_only_features(digit_scenes, tmp_path):
    cfg = load_tiny('mmpretrain', digit_scenes)
    cfg.launcher, cfg.work_dir = 'none', str(tmp_path)
    checkpoint = save_random_weights(cfg, tmp_path)
    results = run_padding_effect(cfg, checkpoint, out=tmp_path, count=2)
    assert results['predictions'] == []
    assert prediction_table(results['predictions']) == ''
    assert list(results['features'][0]['change']) == [4, 8, 16, 32]
    plot_padding_effect(results['features'], tmp_path / 'a' / 'plot.png')
    assert (tmp_path / 'a' / 'plot.png').exists()


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (dict(neighbours=[]), r'multiples of 32, such as \(192, 256\)'),
        (dict(neighbours=[1.0]), 'factors above 1, got 1'),
        (dict(divisor=0), '--divisor .* from 1 up, got 0'),
        (dict(score_thr=3.0), '--score-thr must be from 0 to 1, got 3'),
        (dict(checkpoint='no.pth'), "'no.pth' does not exist"),
        (dict(peers=['resnet18=no.pth']), "'no.pth' does not exist"),
        (dict(crop=(2, 2)), r'does not take images of \(2, 2\)'),
    ],
)
def test_what_cannot_be_measured(options, words, digit_scenes, tmp_path):
    cfg = load_tiny('mmseg', digit_scenes)
    with pytest.raises(ConfigError, match=words):
        run_padding_effect(cfg, out=tmp_path, count=1, **options)


def test_the_tool_says_what_is_wrong(call_tool, tmp_path, capsys):
    config = tmp_path / 'bare.py'
    config.write_text("default_scope = 'mmdet'\nmodel = dict(type='DETR')\n")
    with pytest.raises(SystemExit) as stopped:
        run(call_tool, tmp_path, config)
    assert stopped.value.code == 2
    assert 'has no backbone' in capsys.readouterr().err
