# Copyright (c) mmfft authors. All rights reserved.
"""Names of the published state dicts, translated to ours."""

import re

from torch import Tensor

from ..errors import ConfigError


def convert_published(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """State dict of a published classifier to that of our ImageClassifier.

    Knows `DFFormer, CDFFormer and GFFormer
    <https://github.com/okojoalg/dfformer>`_ and `GFNet and GFNet-H
    <https://github.com/raoyongming/GFNet>`_. Values are taken as they are;
    filters and position embeddings are brought to the model's grid when the
    result is loaded.

    Args:
        state_dict (dict[str, Tensor]): Published names and values.

    Returns:
        dict[str, Tensor]: Names of an mmpretrain ``ImageClassifier`` with
        one of our backbones (``backbone.``) and ``MlpHead`` or
        ``LinearClsHead`` (``head.``).

    Raises:
        ConfigError: If the names are of neither family.
    """
    if 'downsample_layers.0.conv.weight' in state_dict:
        translate = _metaformer_name
    elif 'pos_embed' in state_dict and any(
        name.endswith('filter.complex_weight') for name in state_dict
    ):
        translate = _gfnet_name
    else:
        raise ConfigError(
            'not a published checkpoint of DFFormer, CDFFormer, GFFormer, '
            f'GFNet or GFNet-H; its first keys are {list(state_dict)[:5]}'
        )
    return {translate(name, state_dict): v for name, v in state_dict.items()}


def _metaformer_name(name: str, state_dict: dict) -> str:
    if name.startswith('norm.'):
        return f'head.pre_{name}'
    if name.startswith('head.'):
        return name
    if name.endswith('.complex_weights'):
        mixer = name.removesuffix('.complex_weights')
        dynamic = f'{mixer}.reweight.fc1.weight' in state_dict
        name = f'{mixer}.{"basis" if dynamic else "filter"}.weight'
    return f'backbone.{name}'


def _gfnet_name(name: str, state_dict: dict) -> str:
    if name.startswith('head.'):
        return name.replace('head.', 'head.fc.')
    if name == 'pos_embed':
        return 'backbone.pos_embed.weight'
    if name.startswith('norm.'):
        blocks = {
            int(match[1])
            for match in (re.match(r'blocks\.(\d+)\.', k) for k in state_dict)
            if match
        }
        return f'backbone.norm{max(blocks)}.{name.removeprefix("norm.")}'
    return 'backbone.' + name.replace(
        '.filter.complex_weight', '.token_mixer.filter.weight'
    )
