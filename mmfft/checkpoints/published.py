# Copyright (c) mmfft authors. All rights reserved.
"""Names of the published state dicts, translated to ours."""

import re
from collections.abc import Iterable

from torch import Tensor

from ..errors import ConfigError

_AFFINE = r'\.(weight|bias)'
_SCALAR = r'\.(scale|bias)'
_STEM = r'downsample_layers\.\d\.'
_BLOCK = r'stages\.\d\.\d+\.'
_METAFORMER_NAMES = re.compile(
    '|'.join(
        (
            rf'{_STEM}(conv{_AFFINE}|(pre|post)_norm\.weight)',
            rf'{_BLOCK}norm[12]\.weight',
            rf'{_BLOCK}res_scale[12]\.scale',
            rf'{_BLOCK}mlp\.(fc[12]\.weight|act{_SCALAR})',
            rf'{_BLOCK}token_mixer\.(pwconv[12]|dwconv)\.weight',
            rf'{_BLOCK}token_mixer\.act1{_SCALAR}',
            rf'{_BLOCK}token_mixer\.reweight\.(fc[12]\.weight|act{_SCALAR})',
            rf'{_BLOCK}token_mixer\.(complex_weights|[wb][12])',
            rf'norm{_AFFINE}',
            rf'head\.(fc1|norm|fc2){_AFFINE}',
        )
    )
)
_GFNET_NAMES = re.compile(
    '|'.join(
        (
            r'pos_embed',
            rf'patch_embed\.(\d\.)?proj{_AFFINE}',
            r'blocks\.(\d\.)?\d+\.'
            rf'(gamma|filter\.complex_weight|(norm[12]|mlp\.fc[12]){_AFFINE})',
            rf'(norm|head){_AFFINE}',
        )
    )
)
# No other family has these, ConvFormer and CAFormer included, whose
# remaining names are the same.
_METAFORMER_MARK = re.compile(
    r'stages\.\d\.\d+\.token_mixer\.(complex_weights|w1)'
)
_GFNET_MARK = re.compile(r'blocks\.(\d\.)?\d+\.filter\.complex_weight')


def is_published(names: Iterable[str]) -> bool:
    """Whether a state dict with these names is of a published Fourier model.

    Args:
        names (Iterable[str]): Names of its tensors.

    Returns:
        bool: True for DFFormer, CDFFormer, GFFormer, GFNet and GFNet-H.
    """
    return any(
        _METAFORMER_MARK.fullmatch(name) or _GFNET_MARK.fullmatch(name)
        # A file may have other keys.
        for name in map(str, names)
    )


def foreign_names(names: Iterable[str]) -> list[str]:
    """Names that a published state dict would not have with the others.

    Args:
        names (Iterable[str]): Names of tensors, some of a published model.

    Returns:
        list[str]: Those names, in their order.
    """
    names = list(names)
    known = _GFNET_NAMES if 'pos_embed' in names else _METAFORMER_NAMES
    return [name for name in names if not known.fullmatch(str(name))]


def convert_published(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Turn the state dict of a published classifier into one of ours.

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
        ConfigError: If all names, or some, belong to neither family.
    """
    if not is_published(state_dict):
        raise ConfigError(
            'not a published checkpoint of DFFormer, CDFFormer, GFFormer, '
            f'GFNet or GFNet-H; its first keys are {list(state_dict)[:5]}'
        )
    gfnet = 'pos_embed' in state_dict
    if foreign := foreign_names(state_dict):
        raise ConfigError(
            f'a checkpoint of the {"GFNet" if gfnet else "DFFormer"} family '
            f'has no {foreign[:5]} ({len(foreign)} of {len(state_dict)} keys '
            'do not fit)'
        )
    translate = _gfnet_name if gfnet else _metaformer_name
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
        levels = (re.match(r'blocks\.(\d+)\.', key) for key in state_dict)
        last = max(int(match[1]) for match in levels if match)
        return f'backbone.norm{last}.{name.removeprefix("norm.")}'
    return 'backbone.' + name.replace(
        '.filter.complex_weight', '.token_mixer.filter.weight'
    )
