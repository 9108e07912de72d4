# Copyright (c) mmfft authors. All rights reserved.
"""On data: tests/test_configs/test_robustness.py."""

import pytest
import torch

from mmfft.errors import ConfigError
from mmfft.evaluation import SubsetAccuracy


def test_wrong_model_or_subset():
    with pytest.raises(ConfigError, match="subset='imagenet_c' must be one"):
        SubsetAccuracy('imagenet_c')
    metric = SubsetAccuracy('imagenet_r')
    metric.dataset_meta = dict(classes=metric.classes)
    with pytest.raises(ConfigError, match='the model has 10'):
        metric.process(None, [dict(pred_score=torch.rand(10))])


def test_folders_of_other_classes():
    metric = SubsetAccuracy('imagenet_r')
    metric.dataset_meta = dict(classes=('cat', *metric.classes[1:]))
    with pytest.raises(ConfigError, match="missing .*, unknown .'cat'."):
        metric.process(None, [dict(pred_score=torch.rand(1000))])
