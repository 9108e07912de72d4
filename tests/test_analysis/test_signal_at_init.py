# Copyright (c) mmfft authors. All rights reserved.
import csv
import math
import warnings

import pytest
import torch
import torch.nn.functional as F
from config_files import ROOT

from mmfft.analysis import signal_at_init
from mmfft.analysis.signal_at_init import (
    MEASURES,
    differing_share,
    distance_from_uniform,
    measure_start,
    plot_starts,
    run_starts,
    starts_table,
)
from mmfft.errors import ConfigError
from mmfft.models import DFFormer, GFNetPyramid

# A stage without and one with a factor on the shortcut.
ARCH = dict(embed_dims=[8, 8, 8, 8], depths=[1, 0, 1, 0])
CONFIG = ROOT / 'configs/demo/cdfformer-nano_1xb32-6e_digit-crops.py'


@pytest.fixture(scope='module')
def images():
    return torch.randn(5, 3, 32, 32, generator=torch.manual_seed(0))


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = DFFormer(ARCH, img_size=32, with_cp=True).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Not the published start, where rounding would decide.
            if parameter.dim() > 1:
                parameter.normal_(std=0.3)
            if 'res_scale' in name:
                parameter.fill_(0.5)
    return model


def rms(x):
    return x.square().mean().sqrt().item()


def norm(tensors):
    return math.sqrt(sum(t.square().sum().item() for t in tensors))


def test_ratios_are_those_computed_by_hand(model, images):
    rows = measure_start(model, images, batch=2)
    assert [row['block'] for row in rows] == ['stages.0.0', 'stages.2.0']
    assert all(set(row) == {'block', *MEASURES} for row in rows)
    with torch.no_grad():
        x = images
        for level, row, factor in [(0, rows[0], 1), (2, rows[1], 0.5)]:
            if level == 2:
                x = model._enter(1, x)
            x = model._enter(level, x)
            block = model.stages[level][0]
            assert row['input'] == pytest.approx(rms(x), rel=1e-5)
            routing = block.token_mixer.routing(block.norm1(x))
            for name, branch, before in [
                ('mixer', block.token_mixer, block.norm1),
                ('mlp', block.mlp, block.norm2),
            ]:
                added = branch(before(x))
                expected = rms(added) / rms(factor * x)
                assert row[f'{name}_ratio'] == pytest.approx(expected, 1e-4)
                x = factor * x + added
            assert row['share'] == pytest.approx(
                differing_share(x.mean(dim=(1, 2))), rel=1e-4
            )
            assert row['routing'] == pytest.approx(
                float(distance_from_uniform(routing)), rel=1e-4
            )


def test_gradients_are_those_of_all_images_at_once(model, images):
    model.requires_grad_(False)  # as a frozen backbone
    rows = measure_start(model, images, batch=2)
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(10, 8, generator=generator) / math.sqrt(8)
    labels = torch.randint(10, (5,), generator=generator)
    pooled = model.forward_levels(images, (3,))[0].mean(dim=(1, 2))
    loss = F.cross_entropy(F.layer_norm(pooled, (8,)) @ weight.T, labels)
    for row, stage in zip(rows, (0, 2)):
        block = model.stages[stage][0]
        for name, part in [
            ('mixer', block.token_mixer),
            ('mlp', block.mlp),
            ('basis', block.token_mixer.basis),
            ('routing', block.token_mixer.reweight),
        ]:
            weights = [p for p in part.parameters() if p.dim() > 1]
            grads = torch.autograd.grad(loss, weights, retain_graph=True)
            expected = norm(grads) / norm(weights)
            assert row[f'{name}_gradient'] == pytest.approx(expected, 1e-3)


def test_a_branch_that_ends_with_zeros_adds_nothing(model, images):
    torch.nn.init.zeros_(model.stages[0][0].token_mixer.pwconv2.weight)
    first, second = measure_start(model, images)
    assert first['mixer_ratio'] == 0
    assert first['mixer_gradient'] > 0  # of the zeros themselves
    assert first['basis_gradient'] == first['routing_gradient'] == 0
    assert first['mlp_ratio'] > 0
    assert second['mixer_ratio'] > 0
    torch.nn.init.zeros_(model.stages[0][0].token_mixer.basis.weight)
    assert measure_start(model, images)[0]['basis_gradient'] is None
    # The hooks are gone.
    assert not any(
        m._forward_hooks or m._forward_pre_hooks for m in model.modules()
    )


def test_the_one_branch_of_gfnet_has_its_gamma(images):
    torch.manual_seed(0)
    arch = dict(embed_dims=[8] * 4, depths=[1, 0, 0, 0], layer_scale=1e-6)
    model = GFNetPyramid(arch, img_size=32).eval()
    (row,) = measure_start(model, images)
    assert row['mixer_ratio'] is row['routing'] is None
    assert row['mixer_gradient'] > 0
    block = model.blocks[0][0]
    with torch.no_grad():
        x = model._enter(0, images)
        added = block.mlp(block.norm2(block.token_mixer(block.norm1(x))))
    expected = 1e-6 * rms(added) / rms(x)
    assert row['mlp_ratio'] == pytest.approx(expected, rel=1e-4)


def test_share_and_distance_are_between_0_and_1():
    generator = torch.manual_seed(0)
    same = torch.randn(1, 6, generator=generator).expand(4, 6)
    assert differing_share(same) == pytest.approx(0, abs=1e-6)
    centred = torch.randn(4, 6, generator=generator)
    centred -= centred.mean(dim=0)
    assert differing_share(centred) == pytest.approx(1)
    # Variance 1, mean 2.
    assert differing_share(torch.tensor([[1.0], [3.0]])) == pytest.approx(0.2)


def test_each_init_is_passed_to_the_backbone(tmp_path, monkeypatch):
    seen = []

    def load(spec, size, **options):
        seen.append((spec, size, options, torch.initial_seed()))
        return DFFormer(ARCH, img_size=size).eval()

    monkeypatch.setattr(signal_at_init, 'load_feature_model', load)
    inits = ('published', 'fan_in')
    rows = run_starts(['a', 'b'], tmp_path, inits, (0, 1), 32, 2)
    assert seen == [
        (spec, 32, dict(init=init), seed)
        for spec in 'ab'
        for init in inits
        for seed in (0, 1)
    ]
    assert len(rows) == 2 * 2 * 2 * 2
    table = starts_table(rows)
    assert table.count('\n| a | published |') == 2
    assert ' ± ' in table
    # What another call measured is not kept.
    rows = run_starts(['a'], tmp_path, seeds=[0], size=32, count=2)
    assert seen[-1] == ('a', 32, {}, 0)
    assert len(rows) == 2
    assert ' ± ' not in starts_table(rows)


def test_zeros_and_missing_values_are_drawn(tmp_path):
    row = dict.fromkeys(MEASURES, 0.0) | dict(mixer_ratio=None, share=0.5)
    rows = [
        dict(row, model=model, init='', seed='0', block='stages.0.0')
        for model in ('a', 'b')
    ]
    with warnings.catch_warnings():
        # Matplotlib's, not those of what else is being collected.
        warnings.simplefilter('error', UserWarning)
        plot_starts(rows, tmp_path / 'x' / 'starts.png')
    assert (tmp_path / 'x' / 'starts.png').stat().st_size > 1000


def test_the_tool(call_tool, digit_scenes, tmp_path, capsys):
    call_tool(
        'analysis_tools/signal_at_init.py', CONFIG, 'cdfformer_nano',
        '--init', 'published', 'unit_variance',
        '--size', 32, '--count', 4, '--seeds', 0, 1, '--out', 'out',
        '--images', digit_scenes / 'crops', cwd=tmp_path,
    )  # fmt: skip
    out = tmp_path / 'out'
    with (out / 'signal_at_init.csv').open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 2 * 2 * 6
    for row in rows:
        small = row['init'] == 'published'
        if row['block'] == 'stages.0.0':
            assert (float(row['mixer_ratio']) < 1e-2) is small
            assert row['routing'] == ''
        if row['block'] == 'stages.3.0':
            assert 0 < float(row['routing']) < 0.5
            assert (float(row['routing']) < 0.01) is small
    table = (out / 'signal_at_init.md').read_text()
    assert table in capsys.readouterr().out
    assert (out / 'signal_at_init.png').stat().st_size > 1000


def test_only_ours_are_measured(call_tool, tmp_path, capsys):
    with pytest.raises(SystemExit):
        call_tool(
            'analysis_tools/signal_at_init.py', 'resnet18', '--size', 32,
            cwd=tmp_path,
        )  # fmt: skip
    assert "'resnet18' is ResNet: only blocks" in capsys.readouterr().err
    with pytest.raises(ConfigError, match='holds no'):
        run_starts([str(CONFIG)], tmp_path, folder=str(tmp_path / 'none'))


def test_a_config_whose_init_cfg_would_win_is_refused(tmp_path):
    config = tmp_path / 'own_start.py'
    config.write_text(
        f'_base_ = {str(CONFIG)!r}\n'
        "init_cfg = dict(type='Kaiming', layer='Linear')\n"
        'model = dict(backbone=dict(init_cfg=init_cfg))\n'
    )
    case = dict(out=tmp_path, seeds=[0], size=64, count=2)
    with pytest.raises(ConfigError, match='init_cfg of .* replaces it'):
        run_starts([str(config)], inits=['published'], **case)
    assert run_starts([str(config)], **case)
