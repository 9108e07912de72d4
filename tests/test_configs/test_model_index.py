# Copyright (c) mmfft authors. All rights reserved.
"""The model index: complete, true to the configs, and known to mmpretrain."""

import functools
import re
import shutil
from pathlib import Path

import pytest
import yaml
from config_files import CONFIGS, ROOT, build, load
from modelindex.load_model_index import load as load_index
from oracle.flops import classifier_flops

from mmfft.analysis.flops import config_flops
from mmfft.checkpoints import published_names
from scripts import model_index

FAMILIES = ('cdfformer', 'dfformer', 'gfnet')
PUBLISHED = [config for config in CONFIGS if config.split('/')[1] in FAMILIES]
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


def parameters_of(config):
    return sum(p.numel() for p in build(config).parameters())


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
    assert model['Metadata']['Parameters'] == parameters_of(config)
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
        parameters = parameters_of(f'configs/{family}/{name}')
        assert count == f'{parameters / 1e6:.2f}', name


def test_written_by_the_script(tmp_path, monkeypatch):
    """Generated again, nothing changes; whatever is edited is noticed."""
    configs = tmp_path / 'configs'
    shutil.copytree(ROOT / 'configs', configs)
    shutil.copy(ROOT / 'model-index.yml', tmp_path)
    monkeypatch.setattr(model_index, 'ROOT', tmp_path)

    # Other tests have read and built most of them.
    def shared(name, ours):
        own = getattr(model_index, name)

        @functools.cache
        def of(config):
            path = config.relative_to(tmp_path).as_posix()
            return ours(path) if path in CONFIGS else own(config)

        monkeypatch.setattr(model_index, name, of)

    shared('load', load)
    shared('count_parameters', parameters_of)
    model_index.main(['--check'])

    def is_noticed_and_mended(file):
        with pytest.raises(SystemExit, match=f'configs/{file}'):
            model_index.main(['--check'])
        model_index.main([])
        model_index.main(['--check'])

    for file, figure in [
        ('cdfformer/metafile.yml', 'Parameters: 47350888'),
        ('gfnet/metafile.yml', 'Top 1 Accuracy: 74.6'),
        ('gfnet/README.md', '| 80.0 |'),
        ('dfformer/README.md', '| 3.98 |'),
    ]:
        text = (ROOT / 'configs' / file).read_text()
        assert figure in text
        edited = figure.translate(str.maketrans('0123', '1234'))
        (configs / file).write_text(text.replace(figure, edited))
        is_noticed_and_mended(file)
        assert (configs / file).read_text() == text

    # FLOPs of a model whose layers have changed are counted again.
    metafile = configs / 'gfnet' / 'metafile.yml'
    text = metafile.read_text()
    own = text.index('Name: gfnet-ti_8xb128_in1k\n')
    old = text[own:].replace('FLOPs: 1', 'FLOPs: 2', 1)
    metafile.write_text(text[:own] + old.replace('7511784', '7511785', 1))
    is_noticed_and_mended('gfnet/metafile.yml')
    assert metafile.read_text() == text

    # A new config is described as its twin is.
    metafile = configs / 'dfformer' / 'metafile.yml'
    before = yaml.safe_load(metafile.read_text())['Models']
    twin = configs / 'dfformer' / 'dfformer-s18-k2_8xb128_in1k.py'
    shutil.copy(twin, twin.with_name('dfformer-s18-x_8xb128_in1k.py'))
    is_noticed_and_mended('dfformer/metafile.yml')
    after = yaml.safe_load(metafile.read_text())['Models']
    (new,) = [model for model in after if model not in before]
    assert new['Name'] == 'dfformer-s18-x_8xb128_in1k'
    (own,) = [model for model in before if model['Name'] == twin.stem]
    assert {**new, 'Name': own['Name'], 'Config': own['Config']} == own
