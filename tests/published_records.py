# Copyright (c) mmfft authors. All rights reserved.
"""Recorded outputs of the published code, and the models to compare."""

import gzip
import json
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import nn

from mmfft import models
from mmfft.checkpoints import convert_published

_DATA = Path(__file__).parent / 'data' / 'published'
RECORDS = json.loads((_DATA / 'outputs.json').read_text())
with gzip.open(_DATA / 'state_dict_shapes.json.gz', 'rt') as _file:
    SHAPES = {
        arch: entry.get('state_dict', entry)
        for arch, entry in json.load(_file).items()
    }

_ABLATIONS = {
    '': {},
    'k2': dict(num_filters=2),
    'd8': dict(reweight_ratio=0.125),
    'gelu': dict(act_layer=nn.GELU),
    'relu': dict(act_layer=nn.ReLU),
    'afno': dict(token_mixers=('AFNO2D',) * 4),
}
_FAMILIES = dict(
    dfformer='DFFormer', cdfformer='CDFFormer', gfformer='GFFormer'
)


def published_state_dict(arch):
    """Make the weights of the records, from the names of the tensors."""
    return {
        name: torch.from_numpy(_value(name, shape))
        for name, shape in SHAPES[arch].items()
    }


def _value(name, shape):
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    n = generator.standard_normal(shape, dtype=np.float32)
    leaf = name.rsplit('.', 1)[-1]
    if leaf in ('complex_weight', 'complex_weights'):
        return 0.3 * n
    if leaf == 'pos_embed':
        return 0.2 * n
    if leaf == 'gamma':
        return 0.5 + 0.1 * n
    if leaf in ('bias', 'b1', 'b2'):
        return 0.05 * n
    if leaf in ('w1', 'w2'):
        return 0.1 * n
    if leaf == 'scale' or len(shape) == 1:
        return 1 + 0.1 * n
    return n / np.sqrt(np.prod(shape[1:])).astype(np.float32)


def translated_shapes(arch):
    """Shapes of the published tensors, by our names."""
    with torch.device('meta'):
        published = {k: torch.empty(s) for k, s in SHAPES[arch].items()}
    return {
        name: tuple(value.shape)
        for name, value in convert_published(published).items()
    }


def own_shapes(classifier):
    """Shapes of a classifier's tensors, except the grids, which are ours."""
    return {
        name: tuple(value.shape)
        for name, value in classifier.state_dict().items()
        if not name.endswith('.grid')
    }


def recorded_input(record):
    generator = np.random.default_rng(record['input']['seed'])
    return torch.from_numpy(
        generator.standard_normal(record['input']['shape'], dtype=np.float32)
    )


def is_gfnet(arch):
    return arch.startswith('gfnet')


def _describe(arch):
    """Return class, size and options of a published variant."""
    if is_gfnet(arch):
        size = arch.removeprefix('gfnet-')
        return 'GFNetPyramid' if size.startswith('h-') else 'GFNet', size, {}
    family, size, *ablation = arch.split('_')
    return (
        _FAMILIES[family],
        size,
        _ABLATIONS[ablation[0] if ablation else ''],
    )


def backbone(arch, **kwargs):
    """Build our plain model of a published variant."""
    name, size, options = _describe(arch)
    return getattr(models, name)(size, **options, **kwargs)


def registered_backbone(arch, **kwargs):
    """Build the same as a backbone of OpenMMLab."""
    from mmfft import backbones

    name, size, options = _describe(arch)
    options = dict(options)
    if 'act_layer' in options:
        act = options.pop('act_layer').__name__
        options['act_cfg'] = dict(type=act)
    return getattr(backbones, name)(size, **options, **kwargs)


def classifier(arch, **kwargs):
    """Build our mmpretrain classifier of a published variant."""
    from mmengine.registry import DefaultScope
    from mmpretrain.models import ImageClassifier

    if is_gfnet(arch):
        net = registered_backbone(arch, out_indices=-1, **kwargs)
        head = 'LinearClsHead'
    else:
        net = registered_backbone(
            arch, out_indices=-1, out_norm=False, **kwargs
        )
        head = 'mmfft.MlpHead'
    dims = net.arch.get('embed_dims', [net.arch.get('embed_dim')])
    # Whatever scope the previous test has left.
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return ImageClassifier(
            backbone=net,
            neck=dict(type='GlobalAveragePooling'),
            head=dict(type=head, num_classes=1000, in_channels=dims[-1]),
        ).eval()
