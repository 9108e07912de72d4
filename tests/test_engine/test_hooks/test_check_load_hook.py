# Copyright (c) mmfft authors. All rights reserved.
from types import SimpleNamespace

import pytest
import torch

from mmfft.engine import CheckLoadHook
from mmfft.errors import ConfigError

WEIGHT = torch.ones(1, 1)


@pytest.mark.parametrize(
    'checkpoint',
    [
        {'weight': WEIGHT},
        {'state_dict': {'module.weight': WEIGHT}, 'meta': {}},
        {'state_dict': {'bias': WEIGHT, 'more': WEIGHT}},
    ],
)
def test_something_that_fits_is_let_through(checkpoint):
    runner = SimpleNamespace(model=torch.nn.Linear(1, 1))
    CheckLoadHook().after_load_checkpoint(runner, checkpoint)


def test_nothing_that_fits_is_an_error():
    runner = SimpleNamespace(model=torch.nn.Linear(1, 1))
    with pytest.raises(
        ConfigError, match=r"has \['conv'\], the model has \['w"
    ):
        CheckLoadHook().after_load_checkpoint(
            runner, {'state_dict': {'conv': WEIGHT}}
        )
