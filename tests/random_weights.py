# Copyright (c) mmfft authors. All rights reserved.
import torch
from mmengine.registry import MODELS, init_default_scope


def save_random_weights(cfg, folder):
    """Save the model of a config with seeded weights; return the path."""
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    path = folder / 'random.pth'
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict()), path)
    return str(path)
