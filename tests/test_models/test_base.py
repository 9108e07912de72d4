# Copyright (c) mmfft authors. All rights reserved.
"""Weights of other arguments: what is refused, and how it is named."""

import pytest
from tiny_models import MODELS, TINY, build, every_model, stem_of
from torch import nn

from mmfft.errors import ConfigError

SHALLOW = dict(arch=dict(embed_dim=16, depth=3), out_indices=(1, 2))


@every_model
def test_a_plain_load_adapts_nothing_and_names_the_argument(name):
    weights = build(name).state_dict()
    model = build(name, in_channels=4)
    cls = MODELS[name][0]
    reason = f'{cls}: in_channels is 4, 3 in the file: {stem_of(name)}'
    with pytest.raises(ConfigError, match=f'does not fit {reason}'):
        model.load_state_dict(weights)


@pytest.mark.parametrize(
    ('name', 'theirs', 'ours', 'said'),
    [
        ('dfformer', {}, {}, []),
        ('dfformer', dict(img_size=32), {}, []),
        ('dfformer', {}, dict(num_filters=2), ['num_filters is 2, 4']),
        (
            'dfformer',
            dict(reweight_ratio=0.5),
            {},
            ['reweight_ratio is 0.25, 0.5'],
        ),
        (
            'dfformer',
            dict(arch=dict(TINY, embed_dims=[8, 16, 16, 32])),
            {},
            ['arch.embed_dims is [8, 16, 24, 32], [8, 16, 16, 32]'],
        ),
        # Levels that are not built may be of any kind.
        (
            'dfformer',
            dict(arch=dict(TINY, embed_dims=[8, 16, 16, 32])),
            dict(out_indices=(0, 1)),
            [],
        ),
        ('dfformer', dict(out_indices=(0, 1)), {}, []),
        (
            'cdfformer',
            dict(arch=dict(TINY, depths=[1, 1, 3, 1])),
            dict(act_layer=nn.GELU),
            [
                'arch.depths is [1, 1, 2, 1], [1, 1, 3, 1]',
                'act_layer (act_cfg) is one without parameters, one with bias '
                'and scale',
            ],
        ),
        (
            'gfformer',
            dict(
                token_mixers=['AFNO2D', *['ExpandedGlobalFilter'] * 3],
                out_indices=1,
            ),
            dict(token_mixers=['SepConv'] * 4, out_indices=1),
            [
                "token_mixers is ['SepConv', 'SepConv'], ['AFNO2D', "
                "'ExpandedGlobalFilter']"
            ],
        ),
        ('gfnet', dict(patch_size=16), {}, ['patch_size is 8, 16']),
        ('gfnet', SHALLOW, {}, ['arch.depth is 4, 3']),
        ('gfnet', {}, SHALLOW, ['arch.depth is 3, 4']),
        ('gfnet', {}, dict(out_indices=0), []),
        (
            'gfnet-h',
            dict(in_channels=1),
            {},
            ['in_channels is 3, 1'],
        ),
    ],
)
def test_arguments_that_differ_are_named(name, theirs, ours, said):
    donor, model = build(name, **theirs), build(name, **ours)
    assert model.differing_arguments(donor.state_dict()) == [
        f'{phrase} in the file' for phrase in said
    ]


def test_a_position_embedding_of_an_unknown_grid():
    """Files from before the grid was saved have square ones only."""
    weights = build('gfnet').state_dict()
    names = [name for name in weights if name.startswith('pos_embed.')]
    (weight,) = (name for name in names if weights[name].dim() == 3)
    for name in set(names) - {weight}:
        del weights[name]
    weights[weight] = weights[weight][:, :6]
    with pytest.raises(ConfigError, match='6 tokens is not square'):
        build('gfnet').load_state_dict(weights)
