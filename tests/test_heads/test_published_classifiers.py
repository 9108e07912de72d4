# Copyright (c) mmfft authors. All rights reserved.
"""Classifiers of mmpretrain: the published logits, and to timm and back."""

import pytest
import timm
import torch
from mmengine.logging import HistoryBuffer
from published_records import (
    RECORDS,
    SHAPES,
    classifier,
    own_shapes,
    published_state_dict,
    recorded_input,
    translated_shapes,
)

import mmfft.timm_models  # noqa: F401  timm's names
from mmfft.checkpoints import convert_published

SIZE = 32


@pytest.mark.parametrize(
    'record',
    [r for r in RECORDS if r['task'] == 'classify'],
    ids=lambda r: f'{r["arch"]}-{r["img_size"]}',
)
def test_logits_of_the_published_classifiers(record):
    model = classifier(record['arch'], img_size=record['img_size'])
    assert sum(p.numel() for p in model.parameters()) == record['params']
    weights = convert_published(published_state_dict(record['arch']))
    model.load_state_dict(weights, strict=True)
    with torch.no_grad():
        logits = model(recorded_input(record))
    expected = torch.tensor(record['logits'])
    assert (logits - expected).norm() < 1e-5 * expected.norm()


@pytest.mark.parametrize('arch', SHAPES)
def test_every_variant_has_the_published_shapes(arch):
    """Names and shapes of each state dict match one to one."""
    with torch.device('meta'):
        model = classifier(arch)
    assert own_shapes(model) == translated_shapes(arch)


@pytest.mark.parametrize('arch', ['cdfformer_s18', 'gfnet-ti'])
def test_checkpoint_of_an_mmpretrain_runner(arch, tmp_path):
    trained = classifier(arch, img_size=SIZE)
    trained.init_weights()
    log = HistoryBuffer()
    log.update(0.25)
    file = tmp_path / 'epoch_1.pth'
    torch.save(
        dict(
            meta=dict(epoch=1),
            state_dict=trained.state_dict(),
            message_hub=dict(log_scalars={'train/loss': log}),
        ),
        file,
    )
    model = timm.create_model(
        arch.replace('-', '_'),
        pretrained=True,
        pretrained_cfg_overlay=dict(file=str(file)),
        img_size=SIZE,
    ).eval()
    x = torch.randn(1, 3, SIZE, SIZE)
    with torch.no_grad():
        torch.testing.assert_close(model(x), trained(x))
    # The other way round: timm trains, mmpretrain predicts.
    trained.load_state_dict(model.state_dict(), strict=True)
