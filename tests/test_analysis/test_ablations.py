# Copyright (c) mmfft authors. All rights reserved.
import copy

import pytest
from config_files import ROOT, load, quiet
from conftest import small_data
from mmengine.config import Config, DictAction
from mmengine.registry import MODELS, init_default_scope

from mmfft.analysis import ablations
from mmfft.analysis.ablations import (
    PAPER,
    STARTS,
    plot_ablations,
    run_ablations,
    summarize,
    summary_table,
    variant_config,
)
from mmfft.backbones import CDFFormer, GFFormer, GFNetPyramid
from mmfft.errors import ConfigError
from mmfft.layers import AFNO2D, DynamicFilter

CLS = 'configs/demo/cdfformer-nano_1xb32-6e_digit-crops.py'


@pytest.fixture
def config(digit_scenes):
    cfg = load(CLS)
    for option in small_data('mmpretrain', digit_scenes):
        key, value = option.split('=')
        cfg.merge_from_dict({key: DictAction._parse_iterable(value)})
    cfg.model.backbone.arch = dict(
        embed_dims=[8, 8, 8, 16], depths=[1, 1, 1, 1]
    )
    cfg.model.head.in_channels = 16
    cfg.launcher = 'none'
    return cfg


def backbone(cfg, variant):
    init_default_scope('mmpretrain')
    return MODELS.build(
        variant_config(cfg, variant, 0, 2, 'unused').model.backbone
    )


def test_variants_are_what_they_say():
    cfg = load(CLS)
    built = {name: backbone(cfg, name) for name in PAPER}
    mixers = {
        name: [m for m in model.modules() if isinstance(m, DynamicFilter)]
        for name, model in built.items()
    }
    assert isinstance(built['gfformer'], GFFormer)
    assert isinstance(built['cdfformer'], CDFFormer)
    assert isinstance(built['gfnet-h'], GFNetPyramid)
    assert {
        name: {mixer.num_filters for mixer in found}
        for name, found in mixers.items()
        if found
    } == {
        'dfformer': {4}, 'dfformer-k1': {1}, 'dfformer-k2': {2},
        'dfformer-k8': {8}, 'dfformer-d8': {4}, 'dfformer-d2': {4},
        'dfformer-gelu': {4}, 'dfformer-relu': {4}, 'cdfformer': {4},
    }  # fmt: skip
    widths = {
        name: mixers[name][-1].reweight.fc1.out_features
        for name in ('dfformer', 'dfformer-d8', 'dfformer-d2')
    }
    assert widths == {
        'dfformer': 32, 'dfformer-d8': 16, 'dfformer-d2': 64
    }  # fmt: skip
    acts = {
        name: type(built[f'dfformer-{name}'].stages[0][0].mlp.act).__name__
        for name in ('gelu', 'relu')
    }
    assert acts == dict(gelu='GELU', relu='ReLU')
    assert any(isinstance(m, AFNO2D) for m in built['dfformer-afno'].modules())
    # All have the widths and depths of the config, and its start.
    nano = CDFFormer.arch_zoo['nano']
    for model in built.values():
        assert {key: model.arch[key] for key in nano} == nano
        assert model.init == 'unit_variance'
        assert model.out_indices == (3,)


def test_the_schedule_is_shortened_in_proportion():
    base = load(CLS)
    cfg = variant_config(base, 'gfformer', 3, 2, 'some/where')
    assert cfg.train_cfg.max_epochs == cfg.train_cfg.val_interval == 2
    warmup, cosine = cfg.param_scheduler
    assert (warmup['end'], cosine['begin'], cosine['T_max']) == (
        pytest.approx(1 / 3), pytest.approx(1 / 3), pytest.approx(5 / 3)
    )  # fmt: skip
    assert cfg.randomness.seed == 3
    assert cfg.work_dir == 'some/where'
    assert base.train_cfg.max_epochs == 6
    assert base.model.backbone.type == 'mmfft.CDFFormer'


def test_what_cannot_be_varied(config):
    with pytest.raises(ConfigError, match="'dfformer-k3' is not one of"):
        variant_config(config, 'dfformer-k3', 0, 1, '')
    by_iterations = copy.deepcopy(config)
    by_iterations.train_cfg = dict(by_epoch=False, max_iters=10)
    with pytest.raises(ConfigError, match='train by epochs'):
        variant_config(by_iterations, 'gfformer', 0, 1, '')
    config.model.backbone = dict(type='mmfft.GFNet', arch='ti')
    with pytest.raises(ConfigError, match='MetaFormer family.*mmfft.GFNet'):
        variant_config(config, 'gfformer', 0, 1, '')


def test_starts_change_only_the_initial_values():
    cfg = load(CLS)
    init_default_scope('mmpretrain')
    base = MODELS.build(cfg.model.backbone)
    for name in STARTS:
        model = backbone(cfg, f'start-{name}')
        assert type(model) is type(base)
        assert model.arch == base.arch
        assert [n for n, _ in model.named_parameters()] == [
            n for n, _ in base.named_parameters()
        ]
    model = backbone(cfg, 'start-centred')
    model.init_weights()
    act = model.stages[0][0].mlp.act
    assert act.scale.item() == pytest.approx(0.8944, abs=1e-4)
    assert act.bias.item() == pytest.approx(-0.4472, abs=1e-4)
    assert model.stages[0][0].mlp.fc1.weight.std().item() < 0.03


def test_a_finished_run_is_not_trained_again(
    config, tmp_path, monkeypatch, capsys
):
    trained = []
    train_once = ablations.train_once

    def spy(cfg):
        trained.append((cfg.model.backbone.type, cfg.randomness.seed))
        return train_once(cfg)

    monkeypatch.setattr(ablations, 'train_once', spy)
    with quiet():
        first = run_ablations(config, tmp_path, ['gfformer'], [0], 1)
        assert trained == [('mmfft.GFFormer', 0)]
        assert '1 runs to train, about' in capsys.readouterr().out
        rows = run_ablations(
            config, tmp_path, ['dfformer', 'gfformer'], [0], 1
        )
    assert trained == [('mmfft.GFFormer', 0), ('mmfft.DFFormer', 0)]
    assert first == [row for row in rows if row['variant'] == 'gfformer']
    # Twenty pictures to validate on.
    assert all((row['top1'] / 5) % 1 == 0 for row in rows)
    (checkpoint,) = (tmp_path / 'gfformer_seed0').glob('*.pth')
    assert checkpoint.name == 'epoch_1.pth'
    # What was trained can be built again from what lies beside it.
    (dumped,) = (tmp_path / 'dfformer_seed0').glob('*.py')
    assert Config.fromfile(dumped).model.backbone.type == 'mmfft.DFFormer'
    with pytest.raises(ConfigError, match='choose another --out'):
        run_ablations(config, tmp_path, ['gfformer'], [0], 2)


def test_means_and_spreads(tmp_path):
    rows = [
        dict(variant=v, seed=str(s), parameters=9e5, top1=t, seconds=60.0)
        for v, s, t in [
            ('dfformer', 0, 90.0),
            ('dfformer', 1, 92.0),
            ('dfformer', 2, 97.0),
            ('gfformer', 0, 80.0),
        ]
    ]
    static, dynamic = summarize(rows)
    assert (static['variant'], static['runs']) == ('gfformer', 1)
    assert static['mean'] == 80 and static['spread'] is None
    assert dynamic['mean'] == 93
    assert dynamic['spread'] == pytest.approx(13**0.5)
    table = summary_table([static, dynamic]).splitlines()
    assert table[2].endswith('| 900 K | 1 | 80.0 | 60 |')
    assert table[3].endswith('| 900 K | 3 | 93.0 ± 3.6 | 60 |')
    plot_ablations(rows, tmp_path / 'ablations.png')
    assert (tmp_path / 'ablations.png').stat().st_size > 1000


def test_the_tool_draws_what_is_there(
    call_tool, digit_scenes, tmp_path, capsys
):
    out = tmp_path / 'out'
    out.mkdir()
    (out / 'runs.csv').write_text(
        'variant,seed,parameters,top1,seconds\n'
        'gfformer,0,900000,80,60\n'
        'dfformer,0,900000,90,60\n'
        'gfformer,1,900000,82,60\n'
        'dfformer-k1,0,900000,95,60\n'
    )
    call_tool(
        'analysis_tools/ablations.py', ROOT / CLS, '--out', out,
        '--variants', 'gfformer', '--seeds', 0, 1, '--cfg-options',
        *small_data('mmpretrain', digit_scenes), cwd=tmp_path,
    )  # fmt: skip
    assert '0 runs to train' in capsys.readouterr().out
    table = (out / 'table.md').read_text().splitlines()
    assert len(table) == 3
    assert table[2].startswith('| gfformer |') and '81.0 ± 1.4' in table[2]
    assert (out / 'ablations.png').exists()
