# Copyright (c) mmfft authors. All rights reserved.
import copy

import numpy as np
import pytest
import torch
from config_files import ROOT, load
from mmengine.registry import MODELS, init_default_scope
from PIL import Image

from mmfft.analysis.resolution_transfer import (
    enlarged,
    padded,
    plot_transfer,
    run_transfer,
    summarize,
    summary_table,
    transfer_config,
)
from mmfft.errors import ConfigError

CLS = 'configs/demo/cdfformer-nano_1xb32-6e_digit-crops.py'
COUNT = 24


@pytest.fixture(scope='module')
def config():
    cfg = load(CLS)
    cfg.model.backbone.update(
        type='mmfft.DFFormer',
        arch=dict(embed_dims=[8, 8, 8, 16], depths=[1, 1, 1, 1]),
        img_size=32,
    )
    cfg.model.head.in_channels = 16
    cfg.test_dataloader.update(
        num_workers=0, persistent_workers=False, pin_memory=False
    )
    cfg.launcher = 'none'
    return cfg


def build(cfg):
    init_default_scope('mmpretrain')
    torch.manual_seed(0)
    model = MODELS.build(
        dict(cfg.model, data_preprocessor=cfg.data_preprocessor)
    ).eval()
    for name, parameter in model.named_parameters():
        # Filters that matter, classes that differ.
        if name.endswith('basis.weight'):
            torch.nn.init.normal_(parameter)
    return model


@pytest.fixture(scope='module')
def images():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (COUNT, 4, 4, 3), dtype=np.uint8)
    return [Image.fromarray(p).resize((32, 32), Image.BICUBIC) for p in pixels]


@torch.no_grad()
def logits(cfg, images, size, mode, view):
    """Without pipeline, data set and Runner."""
    cfg = copy.deepcopy(cfg)
    cfg.model.backbone.filter_resize = mode
    model = build(cfg)
    mean = torch.tensor(cfg.data_preprocessor.mean)
    std = torch.tensor(cfg.data_preprocessor.std)
    batch = []
    for image in images:
        if view == 'enlarge':
            pixels = np.asarray(image.resize((size, size), Image.BICUBIC))
        else:
            pixels = np.full((size, size, 3), 124, dtype=np.uint8)
            pixels[:32, :32] = image
        batch.append((torch.tensor(pixels).float() - mean) / std)
    return model(torch.stack(batch).permute(0, 3, 1, 2))


@pytest.mark.parametrize('view', ['enlarge', 'pad'])
def test_the_table_is_the_accuracy(config, images, view, tmp_path):
    outputs = {
        mode: logits(config, images, 48, mode, view)
        for mode in ('bicubic', 'kernel')
    }
    # Classes balanced, by a head that takes away what all images share: then
    # the prediction hangs on the filters.
    common = outputs['kernel'].mean(0)
    model = build(config)
    model.head.fc2.bias.data -= common
    checkpoint = tmp_path / 'weights.pth'
    torch.save(dict(state_dict=model.state_dict()), checkpoint)
    predicted = {
        mode: (out - common).argmax(1) for mode, out in outputs.items()
    }
    # Each picture in the folder of what `kernel` makes of it.
    folder = tmp_path / 'crops' / 'val'
    for c in range(10):
        (folder / str(c)).mkdir(parents=True)
    for i, c in enumerate(predicted['kernel'].tolist()):
        images[i].save(folder / str(c) / f'{i}.png')
    cfg = copy.deepcopy(config)
    cfg.test_dataloader.dataset.data_root = str(tmp_path)
    cfg.test_dataloader.dataset.pipeline = cfg.test_pipeline
    cfg.work_dir = str(tmp_path / 'work')
    rows = run_transfer(
        cfg,
        [str(checkpoint)],
        [32, 48],
        ['bicubic', 'kernel'],
        view,
        tmp_path / 'out',
    )
    agree = (predicted['bicubic'] == predicted['kernel']).float().mean()
    assert agree < 1
    own = logits(config, images, 32, 'bicubic', view) - common
    own = (own.argmax(1) == predicted['kernel']).float().mean()
    found = {(row['size'], row['mode']): row['top1'] for row in rows}
    assert found == {
        ('32', 'bicubic'): pytest.approx(100 * float(own)),
        ('32', 'kernel'): pytest.approx(100 * float(own)),
        ('48', 'bicubic'): pytest.approx(100 * float(agree)),
        ('48', 'kernel'): 100,
    }


def test_pipelines():
    steps = [
        dict(type='LoadImageFromFile'),
        dict(type='ResizeEdge', scale=256, edge='short'),
        dict(type='CenterCrop', crop_size=(224, 112)),
        dict(type='PackInputs'),
    ]
    before = copy.deepcopy(steps)
    larger = enlarged(steps, 224, 336)
    assert larger[1]['scale'] == 384
    assert larger[2]['crop_size'] == (336, 168)
    assert len(larger) == 4
    grey = padded(steps, 224, 300)
    assert [step['type'] for step in grey][2:] == [
        'CenterCrop', 'Pad', 'PackInputs'
    ]  # fmt: skip
    assert grey[3]['size'] == (300, 300)
    assert steps == before
    plain = [steps[0], steps[3]]
    assert enlarged(plain, 64, 64) == plain
    assert enlarged(plain, 64, 80)[1]['scale'] == 80
    with pytest.raises(ConfigError, match='cannot be padded to 200'):
        padded(steps, 224, 200)


def test_mean_and_spread(tmp_path):
    rows = [
        dict(checkpoint=c, size=str(s), mode=m, top1=t)
        for c, s, m, t in [
            ('a', 64, 'bicubic', 90.0),
            ('b', 64, 'bicubic', 94.0),
            ('a', 128, 'bicubic', 50.0),
            ('b', 128, 'bicubic', 50.0),
            ('a', 64, 'kernel', 90.0),
            ('b', 64, 'kernel', 94.0),
            ('a', 128, 'kernel', 60.0),
            ('b', 128, 'kernel', 70.0),
        ]
    ]
    summary = summarize(rows)
    assert summary[64, 'kernel'] == (92, pytest.approx(8**0.5))
    assert summary[128, 'bicubic'] == (50, 0)
    assert summary_table(summary).splitlines() == [
        '| size | bicubic | kernel |',
        '|---:|---:|---:|',
        '| 64 | 92.0 ± 2.8 | 92.0 ± 2.8 |',
        '| 128 | 50.0 ± 0.0 | 65.0 ± 7.1 |',
    ]
    plot_transfer(summary, tmp_path / 'transfer.png')
    assert (tmp_path / 'transfer.png').stat().st_size > 1000
    assert summarize(rows[:1])[64, 'bicubic'] == (90, None)


def test_what_cannot_be_tested(config, tmp_path):
    checkpoint = tmp_path / 'a.pth'
    checkpoint.touch()
    with pytest.raises(ConfigError, match="modes must be one of .*'linear'"):
        transfer_config(config, str(checkpoint), 64, 'linear')
    with pytest.raises(ConfigError, match='sizes .* from 1 up, got 0'):
        transfer_config(config, str(checkpoint), 0, 'kernel')
    with pytest.raises(ConfigError, match="view must be one of .*'stretch'"):
        transfer_config(config, str(checkpoint), 64, 'kernel', 'stretch')
    with pytest.raises(ConfigError, match='b.pth'):
        transfer_config(config, str(tmp_path / 'b.pth'), 64, 'kernel')
    other = copy.deepcopy(config)
    other.model.backbone = dict(type='ResNet', depth=18)
    with pytest.raises(ConfigError, match="modes must be one of .*'-'"):
        transfer_config(other, str(checkpoint), 64, 'kernel')
    with pytest.raises(ConfigError, match='img_size .* got None'):
        transfer_config(other, str(checkpoint), 64, '-')
    other.default_scope = 'mmdet'
    with pytest.raises(ConfigError, match="'mmdet'"):
        transfer_config(other, str(checkpoint), 64, 'kernel')


def test_a_backbone_without_filters(config, images, tmp_path):
    cfg = copy.deepcopy(config)
    cfg.model.backbone = dict(
        type='ResNet', depth=18, base_channels=8, stem_channels=8
    )
    cfg.model.head = dict(type='LinearClsHead', num_classes=10, in_channels=64)
    (tmp_path / 'crops' / 'val' / '0').mkdir(parents=True)
    for i, image in enumerate(images[:4]):
        image.save(tmp_path / 'crops' / 'val' / '0' / f'{i}.png')
    cfg.test_dataloader.dataset.data_root = str(tmp_path)
    cfg.work_dir = str(tmp_path / 'work')
    checkpoint = tmp_path / 'weights.pth'
    torch.save(dict(state_dict=build(cfg).state_dict()), checkpoint)
    rows = run_transfer(
        cfg, [str(checkpoint)], [32, 48], out=tmp_path / 'out', img_size=32
    )
    assert [(row['size'], row['mode']) for row in rows] == [
        ('32', '-'), ('48', '-')
    ]  # fmt: skip
    assert summary_table(summarize(rows)).startswith('| size | - |')


def test_the_tool_says_what_is_missing(call_tool, tmp_path, capsys):
    (tmp_path / 'data' / 'digit_scenes' / 'crops' / 'val').mkdir(parents=True)
    with pytest.raises(SystemExit) as stopped:
        call_tool(
            'analysis_tools/resolution_transfer.py', ROOT / CLS, 'no.pth',
            '--sizes', 64, cwd=tmp_path,
        )  # fmt: skip
    assert stopped.value.code == 2
    assert "checkpoint 'no.pth' does not exist" in capsys.readouterr().err
