# Copyright (c) mmfft authors. All rights reserved.
"""The model index: complete, true to the configs, and known to mmpretrain."""

import re
from pathlib import Path

import pytest
import yaml
from config_files import CONFIGS, ROOT, build, load
from modelindex.load_model_index import load as load_index
from oracle.flops import classifier_flops

from mmfft.analysis.flops import config_flops
from mmfft.checkpoints import published_names

FAMILIES = ('cdfformer', 'dfformer', 'gfnet')
PUBLISHED = [
    config for config in CONFIGS if not config.startswith('configs/demo/')
]
MODELS = {
    family: yaml.safe_load(
        (ROOT / 'configs' / family / 'metafile.yml').read_text()
    )['Models']
    for family in FAMILIES
}
each_model = pytest.mark.parametrize(
    'family, model',
    [(family, model) for family in FAMILIES for model in MODELS[family]],
    ids=lambda value: value if isinstance(value, str) else value['Name'],
)


def is_published(model):
    return '_3rdparty_' in model['Name']


def test_index_has_every_family_and_loads():
    index = load_index(str(ROOT / 'model-index.yml'))
    assert not index.check(silent=True)
    names = [model.name for model in index.models]
    assert len(names) == len(set(names))
    assert len(names) == sum(map(len, MODELS.values()))


def test_every_config_and_every_published_checkpoint_is_in_it():
    models = [model for family in FAMILIES for model in MODELS[family]]
    own = [model['Config'] for model in models if not is_published(model)]
    assert sorted(own) == PUBLISHED
    weights = [model['Weights'] for model in models if is_published(model)]
    assert sorted(weights) == sorted(f'mmfft://{n}' for n in published_names())


def flops_of(config):
    cfg = load(config)
    if '-afno_' in config:
        return config_flops(cfg)[1].flops
    # The counter's figures, which tests/test_analysis holds to these formulas.
    return classifier_flops(cfg.model, build(config).backbone)


@each_model
def test_entry(family, model):
    config = model['Config']
    assert config in CONFIGS
    assert config.startswith(f'configs/{family}/')
    parameters = sum(p.numel() for p in build(config).parameters())
    assert model['Metadata']['Parameters'] == parameters
    tasks = {result['Task'] for result in model['Results']}
    if tasks == {'Image Classification'}:
        flops = model['Metadata']['FLOPs']
        assert flops == pytest.approx(flops_of(config), rel=1e-6)
    if '_coco' in config:
        expected = {'Object Detection'}
        if 'mask-rcnn' in config:
            expected.add('Instance Segmentation')
    elif 'ade20k' in config:
        expected = {'Semantic Segmentation'}
    else:
        expected = {'Image Classification'}
    assert tasks == expected
    if is_published(model):
        assert model['Weights'] == 'mmfft://' + model['Name'].replace(
            '_3rdparty', ''
        )
        assert model['Converted From']['Code'].startswith('https://github.com')
    else:
        assert model['Name'] == Path(config).stem
        assert 'Weights' not in model
    # Nothing was trained here, and of the published results only GFNet's
    # stand in a text that could be read.
    sourced = family == 'gfnet' and is_published(model)
    for result in model['Results']:
        assert bool(result['Metrics']) == sourced


def test_accuracies_are_those_of_the_readme_of_gfnet():
    found = {
        model['Name'].removesuffix('_3rdparty_in1k'): tuple(
            model['Results'][0]['Metrics'].values()
        )
        for model in MODELS['gfnet']
        if is_published(model)
    }
    assert found == {
        'gfnet-ti': (74.6, 92.2),
        'gfnet-xs': (78.6, 94.2),
        'gfnet-s': (80.0, 94.9),
        'gfnet-b': (80.7, 95.1),
        'gfnet-h-ti': (80.1, 95.1),
        'gfnet-h-s': (81.5, 95.6),
        'gfnet-h-b': (82.9, 96.2),
    }


@pytest.mark.parametrize('family', FAMILIES)
def test_readme(family):
    """It names every config, only those, and only files that are there."""
    folder = ROOT / 'configs' / family
    text = (folder / 'README.md').read_text()
    named = set(re.findall(r'\]\(\./([^)]+\.py)\)', text))
    assert named == {path.name for path in folder.glob('*.py')}
    for link in re.findall(r'\]\((\.[^)]+)\)', text):
        assert (folder / link).exists(), link
    counts = re.findall(r'\| ([\d.]+) \|[^\n]*?\]\(\./([^)]+\.py)\)', text)
    assert counts
    for count, name in counts:
        parameters = sum(
            p.numel() for p in build(f'configs/{family}/{name}').parameters()
        )
        assert count == f'{parameters / 1e6:.2f}', name
