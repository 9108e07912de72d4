# Copyright (c) mmfft authors. All rights reserved.
"""Every config, from its file to a model, an optimizer and data loaders."""

import ast
import json
import re
from pathlib import Path

import pytest
import torch
from config_files import CONFIGS, ROOT, batch_of, build, load, quiet
from mmengine.optim import build_optim_wrapper
from mmengine.registry import (
    DATASETS,
    METRICS,
    MODELS,
    init_default_scope,
)

from mmfft import backbones

BASES = ROOT / 'configs' / '_base_'
SMALL_SIZES = ('nano', 'micro', 'mini')
each_config = pytest.mark.parametrize('config', CONFIGS)


def bases_of(path):
    """Paths in `_base_` of a config, read without mmengine."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == '_base_':
            bases = ast.literal_eval(node.value)
            bases = [bases] if isinstance(bases, str) else bases
            return [(path.parent / base).resolve() for base in bases]
    return []


def chains(path):
    """All ways from a config down to a base that has none itself."""
    bases = bases_of(path)
    if not bases:
        return [[path]]
    return [[path, *chain] for base in bases for chain in chains(base)]


def no_decay_in_timm(name, parameter):
    return (
        parameter.ndim == 1
        or name.endswith('.bias')
        or name == 'backbone.pos_embed.weight'
    )


def test_families():
    """What the project promises to have."""
    for family, small in (('dfformer', 's18'), ('cdfformer', 's18')):
        for arch in ('s18', 's36', 'm36', 'b36'):
            assert f'configs/{family}/{family}-{arch}_8xb128_in1k.py' in (
                CONFIGS
            )
        name = f'configs/{family}/{family}-{small}_1xb128-accum8_in1k.py'
        assert name in CONFIGS
    dense = [('gfnet', f'h-{size}') for size in ('ti', 's', 'b')]
    for family in ('dfformer', 'cdfformer'):
        dense += [(family, arch) for arch in ('s18', 's36', 'm36')]
    for family, arch in dense:
        name = f'{family}-{arch}'
        for config in (
            f'retinanet_{name}_fpn_1x_coco',
            f'mask-rcnn_{name}_fpn_1x_coco',
            f'{name}_fpn_8xb4-40k_ade20k-512x512',
            f'{name}_upernet_8xb2-160k_ade20k-512x512',
        ):
            assert f'configs/{family}/{config}.py' in CONFIGS
        three = f'configs/{family}/mask-rcnn_{name}_fpn_amp-ms-crop-3x_coco.py'
        assert (three in CONFIGS) == (arch in ('s18', 's36'))
    for size in SMALL_SIZES:
        for name in ('dfformer', 'cdfformer', 'gfnet-h'):
            config = f'{name.split("-")[0]}/{name}-{size}_8xb128_in1k.py'
            assert f'configs/{config}' in CONFIGS


@each_config
def test_depth_and_homes_of_bases(config):
    for chain in chains(ROOT / config):
        bases = [path for path in chain if path.is_relative_to(BASES)]
        siblings = chain[: len(chain) - len(bases)]
        assert chain == siblings + bases
        assert len(siblings) <= 3
        assert len(chain) <= 5
        for path in siblings:
            assert path.is_relative_to(ROOT / 'configs')


def test_every_base_is_used():
    used = {
        path
        for config in CONFIGS
        for chain in chains(ROOT / config)
        for path in chain
        if path.is_relative_to(BASES)
    }
    assert used == set(BASES.rglob('*.py'))


def test_no_parameter_is_expected_to_be_unused():
    for config in CONFIGS:
        assert 'find_unused_parameters' not in load(config)


@each_config
def test_batch(config):
    cfg = load(config)
    gpus, images, accumulated = batch_of(config)
    assert cfg.train_dataloader.batch_size == images
    assert cfg.optim_wrapper.get('accumulative_counts', 1) == accumulated
    # mmengine scales by the images of one iteration on all GPUs.
    assert cfg.auto_scale_lr == dict(
        base_batch_size=gpus * images, enable=False
    )


EPOCHS = [
    (r'configs/custom/', 50),
    (r'_1x_coco', 12),
    (r'-3x_coco', 36),
    (r'_in1k-384px', 30),
    (r'_(cifar100?|flowers102|cars)\.', 1000),
    (r'gfnet-.*_in1k\.', 300),
    # With 10 epochs of cooldown.
    (r'former-.*_in1k\.', 310),
]


@each_config
def test_length_of_schedule(config):
    cfg = load(config)
    # 3e: epochs; 40k: iterations.
    if said := re.search(r'-(\d+)(e|k)[_-]', config):
        length = int(said[1])
        if said[2] == 'e':
            assert cfg.train_cfg.max_epochs == length
            return
        assert cfg.train_cfg.type == 'IterBasedTrainLoop'
        assert cfg.train_cfg.max_iters == length * 1000
        assert cfg.default_hooks.checkpoint.by_epoch is False
        return
    for pattern, length in EPOCHS:
        if re.search(pattern, config):
            assert cfg.train_cfg.max_epochs == length
            return
    pytest.fail('no schedule of this name is known')


@pytest.fixture(scope='module')
def data_root(tmp_path_factory):
    """A folder with the few files that are read without loading data."""
    folder = tmp_path_factory.mktemp('data')
    empty = json.dumps(dict(images=[], annotations=[], categories=[]))
    scenes = 'scenes/annotations/instances_validation.json'
    for path, text in {
        'data/coco/annotations/instances_val2017.json': empty,
        'data/custom/val.json': empty,
        f'data/digit_scenes/{scenes}': empty,
        f'data/digit_scenes_mixed/{scenes}': empty,
        'data/stanford_cars/cars_annos.mat': '',
    }.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


@each_config
def test_data(config, data_root, monkeypatch):
    monkeypatch.chdir(data_root)
    cfg = load(config)
    init_default_scope(cfg.default_scope)
    for split in ('train', 'val', 'test'):
        dataset = cfg[f'{split}_dataloader'].dataset
        built = DATASETS.build({**dataset, 'lazy_init': True})
        packs = {'mmpretrain': '', 'mmdet': 'Det', 'mmseg': 'Seg'}
        last = type(built.pipeline.transforms[-1]).__name__
        assert last == f'Pack{packs[cfg.default_scope]}Inputs'
        # In test mode mmdet loads no boxes and keeps images without any.
        if split == 'train' or cfg.default_scope == 'mmdet':
            assert built.test_mode == (split != 'train')
    for split in ('val', 'test'):
        METRICS.build(cfg[f'{split}_evaluator'])


@each_config
@torch.no_grad()
def test_model_fits_together(config):
    """Neck and heads run on features of the backbone's shapes."""
    cfg = load(config)
    model = build(config).eval()
    assert all(p.is_meta for p in model.parameters()), 'it takes memory'
    arch = model.backbone.arch
    dims = arch.get('embed_dims') or [arch['embed_dim']] * arch['depth']
    feats = tuple(
        torch.empty(2, dims[i], 16 >> i, 24 >> i)
        for i in model.backbone.out_indices
    )
    feats = tuple(feat.to('meta') for feat in feats)
    if model.with_neck:
        feats = model.neck(feats)
    if cfg.default_scope == 'mmpretrain':
        classes = cfg.data_preprocessor.num_classes
        assert cfg.model.head.num_classes == classes
        assert model.head(feats).shape == (2, classes)
    elif cfg.default_scope == 'mmseg':
        classes = cfg.model.decode_head.num_classes
        assert model.decode_head(feats).shape == (2, classes, 16, 24)
        if model.with_auxiliary_head:
            assert model.auxiliary_head(feats).shape[1] == classes
    else:
        name = 'rpn_head' if 'rpn_head' in cfg.model else 'bbox_head'
        scores, _ = getattr(model, name)(feats)
        assert [score.shape[-1] for score in scores] == [
            -(-96 // stride)
            for stride in cfg.model[name].anchor_generator.strides
        ]


@each_config
def test_optimizer(config):
    cfg = load(config)
    model = build(config)
    wrapper_cfg = cfg.optim_wrapper.copy()
    # Asserts a GPU.
    wrapper_cfg.type = 'OptimWrapper'
    wrapper_cfg.pop('use_fsdp', None)
    init_default_scope(cfg.default_scope)
    with quiet():
        wrapper = build_optim_wrapper(model, wrapper_cfg)
    optimizer = cfg.optim_wrapper.optimizer
    groups = {
        id(parameter): group
        for group in wrapper.optimizer.param_groups
        for parameter in group['params']
    }
    trained = {
        name: p for name, p in model.named_parameters() if p.requires_grad
    }
    assert set(groups) == {id(p) for p in trained.values()}

    norms = {
        id(p)
        for module in model.modules()
        if 'Norm' in type(module).__name__
        for p in module.parameters(recurse=False)
    }
    rate = cfg.optim_wrapper.get('paramwise_cfg', {}).get('layer_decay_rate')
    assert (rate is not None) == ('-3x_' in config)
    for name, parameter in trained.items():
        if re.search('_1x_coco|_8xb4-40k_', config):
            free = False
        elif '_upernet_8xb2-160k_' in config:
            free = id(parameter) in norms
        else:
            free = no_decay_in_timm(name, parameter)
        decay = 0 if free else optimizer.weight_decay
        group = groups[id(parameter)]
        assert group['weight_decay'] == decay, name
        scale = rate ** layers_above(name, model.backbone) if rate else 1
        assert group['lr'] == pytest.approx(optimizer.lr * scale), name
    kinds = {bool(group['weight_decay']) for group in groups.values()}
    assert kinds == (
        {True} if re.search('_1x_coco|_8xb4-40k_', config) else {True, False}
    )


def layers_above(name, backbone):
    """Blocks above a parameter of a MetaFormer, the heads being one."""
    depths = backbone.arch['depths']
    blocks = sum(depths)
    match = re.match(r'backbone\.(\w+)\.(\d)\.(?:(\d+)\.)?', name)
    if match is None:
        return 0
    kind, stage, block = match[1], int(match[2]), int(match[3] or 0)
    if kind == 'downsample_layers' and stage == 0:
        return blocks + 1
    if kind == 'downsample_layers':
        block = 0
    return blocks - sum(depths[:stage]) - block


# Pattern, learning rate, weight decay, clipping, mixed precision.
RECIPES = [
    (r'configs/(demo|custom)', None),
    (r'retinanet', (1e-4, 0.05, None, True)),
    (r'mask-rcnn.*_1x', (2e-4, 1e-4, None, False)),
    (r'mask-rcnn.*-3x', (1e-4, 0.05, None, True)),
    (r'_fpn_8xb4-40k', (2e-4, 1e-4, None, False)),
    (r'_upernet_', (6e-5, 0.01, None, False)),
    (r'gfnet.*-384px', (5e-6, 1e-8, 1.0, True)),
    (r'former.*-384px', (5e-5, 0.05, None, True)),
    (r'_8xb64_', (1e-4, 1e-4, 1.0, True)),
    (r'gfnet', (1e-3, 0.05, 1.0, True)),
    (r'former', (1e-3, 0.05, None, True)),
]


@each_config
def test_recipe(config):
    recipe = next(r for pattern, r in RECIPES if re.search(pattern, config))
    if recipe is None:
        return
    wrapper = load(config).optim_wrapper
    assert wrapper.optimizer.type == 'AdamW'
    assert recipe == (
        wrapper.optimizer.lr,
        wrapper.optimizer.weight_decay,
        wrapper.get('clip_grad', {}).get('max_norm'),
        wrapper.type == 'AmpOptimWrapper',
    )
    paramwise = wrapper.get('paramwise_cfg', {})
    if 'layer_decay_rate' in paramwise:
        # The stem learns as slowly as ConvNeXt's: 0.95 ** 7.
        blocks = sum(build(config).backbone.arch['depths'])
        stem = paramwise.layer_decay_rate ** (blocks + 1)
        assert stem == pytest.approx(0.95**7, abs=0.02)


STOCHASTIC_DEPTH = dict(ti=0, xs=0, s=0.15, b=0.25)
STOCHASTIC_DEPTH |= {'h-ti': 0.1, 'h-s': 0.2, 'h-b': 0.4}
STOCHASTIC_DEPTH |= dict(s18=0.2, s36=0.3, m36=0.4, b36=0.6)
SMALL = [f'{level}{size}' for level in ('', 'h-') for size in SMALL_SIZES]
STOCHASTIC_DEPTH |= dict.fromkeys(SMALL, 0)


@each_config
def test_stochastic_depth(config):
    backbone = load(config).model.backbone
    if re.search('/(demo|custom)/|_8xb64_|_1x_|-40k_', config):
        expected = 0
    elif 'former' in config and '384px' in config:
        expected = dict(s18=0.3, s36=0.5, m36=0.8, b36=0.8)[backbone.arch]
    else:
        expected = STOCHASTIC_DEPTH[backbone.arch]
    assert backbone.get('drop_path_rate', 0) == expected


@pytest.mark.parametrize('size', SMALL_SIZES)
@pytest.mark.parametrize(
    'name, large',
    [('dfformer', 's18'), ('cdfformer', 's18'), ('gfnet-h', 'ti')],
)
def test_small_archs_are_trained_like_large_ones(name, size, large):
    config, twin = (
        f'configs/{name.split("-")[0]}/{name}-{arch}_8xb128_in1k.py'
        for arch in (size, large)
    )
    cfg, other = load(config), load(twin)
    for key in (set(cfg) | set(other)) - {'model', 'custom_hooks'}:
        assert cfg[key] == other[key], key
    assert [hook.type for hook in cfg.custom_hooks] == [
        *(hook.type for hook in other.get('custom_hooks', [])),
        'mmfft.FilterStatsHook',
    ]
    head = dict(in_channels=0, init_cfg=0)
    assert {**cfg.model.head, **head} == {**other.model.head, **head}
    assert cfg.model.head.init_cfg == dict(type='mmfft.UnitVariance')
    model = build(config)
    assert model.backbone.init == 'unit_variance'
    assert model.data_preprocessor.batch_augments is None
    assert build(twin).data_preprocessor.batch_augments is not None


@pytest.mark.parametrize(
    'name, backbone',
    [
        ('dfformer-s18', 'DFFormer'),
        ('cdfformer-s18', 'CDFFormer'),
        ('gfnet-h-ti', 'GFNetPyramid'),
    ],
)
@torch.no_grad()
def test_small_archs_feed_the_neck_of_a_detector(name, backbone):
    model = load(
        f'configs/{name.split("-")[0]}/mask-rcnn_{name}_fpn_1x_coco.py'
    ).model
    cls = getattr(backbones, backbone)
    init_default_scope('mmdet')
    for arch in cls.small_archs:
        model.backbone.update(arch=arch, img_size=64, init_cfg=None)
        model.neck.in_channels = cls.arch_zoo[arch]['embed_dims']
        feats = MODELS.build(model.backbone)(torch.zeros(1, 3, 75, 101))
        levels = MODELS.build(model.neck)(feats)
        strides = model.rpn_head.anchor_generator.strides
        for level, stride in zip(levels, strides, strict=True):
            assert level.shape[1] == 256
            for side, n in zip(level.shape[2:], (75, 101)):
                assert side in (n // stride, -(-n // stride))


@each_config
def test_start(config):
    """Dense tasks and fine-tuning start from published weights by name."""
    from mmfft.checkpoints import published_names

    cfg = load(config)
    init_cfg = cfg.model.backbone.get('init_cfg', {})
    start = cfg.get('load_from') or init_cfg.get('checkpoint')
    if config.startswith('configs/demo/'):
        return
    if config.startswith('configs/custom/'):
        s18 = 'mmfft://cdfformer-s18_in1k' if 's18' in config else None
        assert start == s18
        return
    if re.search(r'_in1k\.py', config):
        assert start is None
        return
    name = re.search(r'(c?df|gf)(former|net)-(h-)?\w+?(?=_)', config)[0]
    assert start == f'mmfft://{name}_in1k'
    assert f'{name}_in1k' in published_names()
    assert Path(config).parent.name == name.split('-')[0]
