# Copyright (c) mmfft authors. All rights reserved.
"""The plain models give the outputs of the published code."""

import pytest
import torch
from oracle import models
from published_records import (
    RECORDS,
    classifier,
    published_state_dict,
    recorded_input,
)

from mmfft.checkpoints import convert_published

JUDGED = [
    record
    for record in RECORDS
    if record['arch'] in ('dfformer_s18', 'cdfformer_s18', 'gfnet-h-ti')
    and record['task'] == 'classify'
    and record['img_size'] == 224
]


@pytest.mark.parametrize('record', JUDGED, ids=lambda record: record['arch'])
def test_logits_of_the_published_code(record):
    model = classifier(record['arch'], img_size=224)
    model.load_state_dict(
        convert_published(published_state_dict(record['arch']))
    )
    plain = models.build(record['arch'], 224)
    plain.load_state_dict(model.backbone.state_dict())
    with torch.no_grad():
        features = model.neck((plain(recorded_input(record)),))
        logits = model.head(features)
    expected = torch.tensor(record['logits'])
    assert (logits - expected).norm() < 1e-5 * expected.norm()
