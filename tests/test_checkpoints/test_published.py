# Copyright (c) mmfft authors. All rights reserved.
import numpy as np
import pytest
import timm
import torch
from published_records import (
    RECORDS,
    SHAPES,
    backbone,
    own_shapes,
    published_state_dict,
    recorded_input,
    translated_shapes,
)

import mmfft.timm_models  # noqa: F401  the models
from mmfft.checkpoints import convert_published
from mmfft.errors import ConfigError

TOLERANCE = 1e-5


def name_of(record):
    return f'{record["arch"]}-{record["img_size"]}'


def of_task(task):
    records = [r for r in RECORDS if r['task'] == task]
    return pytest.mark.parametrize('record', records, ids=name_of)


def relative_error(out, expected):
    expected = torch.tensor(expected)
    return ((out - expected).norm() / expected.norm()).item()


@of_task('features')
def test_features_of_the_published_dense_backbones(record):
    model = backbone(record['arch'], img_size=record['img_size']).eval()
    weights = convert_published(published_state_dict(record['arch']))
    weights = {
        name.removeprefix('backbone.'): value
        for name, value in weights.items()
        if name.startswith('backbone.')
    }
    result = model.load_state_dict(weights, strict=False)
    # As published, the output norms start fresh.
    fresh = {f'norm{i}.{p}' for i in range(4) for p in ('weight', 'bias')}
    assert set(result.missing_keys) == fresh
    assert not result.unexpected_keys
    with torch.no_grad():
        outs = model(recorded_input(record))
    assert len(outs) == 4
    for out, stage in zip(outs, record['stages']):
        assert list(out.shape) == stage['shape']
        generator = np.random.default_rng(0)
        sample = generator.integers(0, out.numel(), size=256)
        values = out.flatten()[sample]
        assert relative_error(values, stage['values']) < TOLERANCE
        assert out.mean().item() == pytest.approx(stage['mean'], abs=1e-5)
        std = out.std(unbiased=False).item()
        assert std == pytest.approx(stage['std'], rel=1e-5)


@pytest.mark.parametrize('arch', SHAPES)
def test_every_variant_has_the_published_shapes(arch):
    """Names and shapes of each state dict match one to one."""
    with torch.device('meta'):
        model = timm.create_model(arch.replace('-', '_'))
    assert own_shapes(model) == translated_shapes(arch)


def test_a_foreign_checkpoint_is_refused_by_its_first_keys():
    with pytest.raises(ConfigError, match="'conv1.weight', 'bn1.weight'"):
        convert_published({'conv1.weight': None, 'bn1.weight': None})
