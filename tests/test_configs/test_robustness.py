# Copyright (c) mmfft authors. All rights reserved.
"""The published robustness sets, in small ones of their layouts."""

import json
import os

import numpy as np
import pytest
import torch
from config_files import ROOT, load
from mmengine.config import Config
from mmengine.registry import DATASETS, METRICS, init_default_scope
from PIL import Image
from random_weights import save_random_weights
from timm.data import ImageNetInfo

from mmfft.analysis.shape_bias import (
    read_decisions,
)
from mmfft.errors import ConfigError
from mmfft.evaluation import SubsetAccuracy

NAMES = ImageNetInfo().label_names()  # WordNet ids by label
GFNET = 'gfnet/gfnet-xs_8xb128_in1k'
CATEGORIES = (
    'airplane bear bicycle bird boat bottle car cat chair clock dog elephant '
    'keyboard knife oven truck'
).split()


def robust(name, monkeypatch, model=GFNET):
    monkeypatch.setenv('MODEL', model)
    cfg = Config.fromfile(ROOT / 'configs' / 'robustness' / f'{name}.py')
    init_default_scope(cfg.default_scope)
    return cfg


def add_picture(folder, name, seed=0):
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(
        0, 256, (48, 64, 3), dtype=np.uint8
    )
    Image.fromarray(pixels).save(folder / name)


def evaluate(cfg, root, choose):
    """The metrics of a model that scores by the true WordNet id."""
    cfg.test_dataloader.dataset.data_root = str(root)
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    metric = METRICS.build(cfg.test_evaluator)
    metric.dataset_meta = dataset.metainfo
    for i in range(len(dataset)):
        sample = dataset[i]['data_samples'].to_dict()
        wnid = sample['img_path'].split(os.sep)[-2]
        metric.process(None, [{**sample, 'pred_score': choose(wnid)}])
    return metric.evaluate(len(dataset)), len(dataset)


def scores(*labels):
    """All classes equal but these, the first one best."""
    values = torch.full((1000,), 1e-4)
    for i, label in enumerate(labels):
        values[label] = 0.5 / (i + 1)
    return values


@pytest.mark.parametrize('name', ['imagenet-a', 'imagenet-r'])
def test_subsets_of_classes(name, tmp_path, monkeypatch):
    cfg = robust(name, monkeypatch)
    metric = SubsetAccuracy(cfg.test_evaluator.subset)
    wnids, labels = metric.classes, metric.indices
    assert len(wnids) == len(labels) == 200
    assert [NAMES[label] for label in labels] == list(wnids)
    for wnid in wnids:
        (tmp_path / wnid).mkdir()
    for wnid in (wnids[0], wnids[7], wnids[199]):
        add_picture(tmp_path / wnid, 'a.jpg')
    add_picture(tmp_path / wnids[7], 'b.jpg')
    outside = next(i for i in range(1000) if i not in labels)

    # Best of all is a class that is not asked for, then the right one.
    def choose(wnid):
        return scores(outside, NAMES.index(wnid))

    result, count = evaluate(cfg, tmp_path, choose)
    assert (result['accuracy/top1'], count) == (100, 4)

    def always_the_eighth(wnid):
        return scores(labels[7], NAMES.index(wnid))

    result, _ = evaluate(cfg, tmp_path, always_the_eighth)
    assert result['accuracy/top1'] == 50
    assert result['accuracy/top5'] == 100

    (tmp_path / wnids[3]).rmdir()
    with pytest.raises(ConfigError, match=f'199 folders.*missing.*{wnids[3]}'):
        evaluate(cfg, tmp_path, choose)


@pytest.mark.parametrize(
    'name, folder',
    [('imagenet-sketch', 'sketch'), ('stylized-imagenet', 'val')],
)
def test_all_classes(name, folder, tmp_path, monkeypatch):
    for wnid in NAMES:
        (tmp_path / folder / wnid).mkdir(parents=True)
    for label in (0, 500, 999):
        add_picture(tmp_path / folder / NAMES[label], 'a.JPEG')
    cfg = robust(name, monkeypatch)
    result, count = evaluate(
        cfg, tmp_path, lambda wnid: scores(min(NAMES.index(wnid), 998))
    )
    assert count == 3
    assert result['accuracy/top1'] == pytest.approx(200 / 3)


def test_images_as_the_model_is_tested(monkeypatch):
    for model in ('dfformer/dfformer-s18_8xb128_in1k', GFNET):
        own = load(f'configs/{model}.py').test_dataloader.dataset.pipeline
        for name in ('imagenet-r', 'stylized-imagenet', 'cue-conflict'):
            cfg = robust(name, monkeypatch, model)
            assert cfg.test_dataloader.dataset.pipeline == own
            assert cfg.model == load(f'configs/{model}.py').model


@pytest.mark.slow
def test_shape_bias(tmp_path, monkeypatch, call_tool, capsys):
    """From images to the plot, by the command lines."""
    data = tmp_path / 'data' / 'cue-conflict'
    for i, shape in enumerate(CATEGORIES):
        texture = CATEGORIES[(i + 3) % 16]
        add_picture(data / shape, f'{shape}1-{texture}2.png', i)
    add_picture(data / 'cat', 'cat1-cat2.png')
    monkeypatch.setenv('MODEL', GFNET)
    cfg = load(f'configs/{GFNET}.py')
    checkpoint = save_random_weights(cfg, tmp_path)
    call_tool(
        'test.py', ROOT / 'configs/robustness/cue-conflict.py', checkpoint,
        '--cfg-options', 'test_dataloader.num_workers=0',
        'test_dataloader.persistent_workers=False', cwd=tmp_path,
    )  # fmt: skip
    folder = tmp_path / 'work_dirs' / 'shape_bias'
    (file,) = folder.glob('*.csv')
    result = read_decisions(file)
    assert result.model == 'gfnet-xs_8xb128_in1k'
    assert list(result.shape) == CATEGORIES
    assert result.images == 16

    # Decisions of another model: two for shapes, one for a texture.
    lines = file.read_text().replace(result.model, 'other').splitlines()
    rows = [line.split(',') for line in lines[1:]]
    for row in rows:
        shape, name = row[5], row[7]
        by_texture = name.split('-')[1].rstrip('2.png')
        row[4] = dict(bear=shape, dog=shape, oven=by_texture).get(shape, '?')
    text = '\n'.join([lines[0], *(','.join(row) for row in rows)])
    (folder / 'other.csv').write_text(text)
    call_tool(
        'analysis_tools/shape_bias.py', folder, '--out', 'plot.png',
        '--json', 'numbers.json', cwd=tmp_path,
    )  # fmt: skip
    assert 'other: shape bias 66.7 % on 16 images' in capsys.readouterr().out
    numbers = json.loads((tmp_path / 'numbers.json').read_text())
    assert set(numbers) == {'other', result.model}
    other = numbers['other']
    assert other['shape_bias'] == pytest.approx(2 / 3)
    by_class = other['shape_bias_by_class']
    assert (by_class['bear'], by_class['oven'], by_class['cat']) == (
        1,
        0,
        None,
    )
    assert (tmp_path / 'plot.png').exists()
