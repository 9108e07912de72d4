# Copyright (c) mmfft authors. All rights reserved.
"""Small models of every kind, plain or as backbones of OpenMMLab."""

import pytest
import torch

from mmfft import models

TINY = dict(embed_dims=[8, 16, 24, 32], depths=[1, 1, 2, 1])
MODELS = {
    'dfformer': ('DFFormer', dict(arch=TINY)),
    'afno': ('DFFormer', dict(arch=TINY, token_mixers=('AFNO2D',) * 4)),
    'cdfformer': ('CDFFormer', dict(arch=TINY)),
    'gfformer': ('GFFormer', dict(arch=TINY)),
    'gfnet': (
        'GFNet',
        dict(
            arch=dict(embed_dim=16, depth=4), patch_size=8, out_indices=(1, 3)
        ),
    ),
    'gfnet-h': ('GFNetPyramid', dict(arch=dict(**TINY, layer_scale=0.5))),
}
every_model = pytest.mark.parametrize('name', MODELS)


def build(name, package=models, **kwargs):
    cls, options = MODELS[name]
    torch.manual_seed(0)
    model = getattr(package, cls)(**{**options, 'img_size': 64, **kwargs})
    if package is not models:
        model.init_weights()
    return model


def stem_of(name):
    """Name of the weights that take the channels of the image."""
    stems = {
        'gfnet': 'patch_embed.proj.weight',
        'gfnet-h': 'patch_embed.0.proj.weight',
    }
    return stems.get(name, 'downsample_layers.0.conv.weight')


def loss_of(outs):
    return sum((out * out).sum() for out in outs)
