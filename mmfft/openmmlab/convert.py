# Copyright (c) mmfft authors. All rights reserved.
"""Convert published files to checkpoints of mmpretrain classifiers."""

import math

from mmengine.registry import MODELS, init_default_scope
from torch import Tensor

from ..checkpoints import convert_published, read_file, unwrap
from ..checkpoints.writing import content_of, refuse_existing, write_new
from ..errors import ConfigError
from ..models import CDFFormer, DFFormer, GFFormer, GFNet, GFNetPyramid


def convert_file(source: str, target: str) -> dict:
    """Convert a published file to a checkpoint of an mmpretrain classifier.

    Args:
        source (str): Path of the published checkpoint.
        target (str): Path to write to; must not exist. It is safetensors if
            it ends so, PyTorch's format otherwise.

    Returns:
        dict: Config of the classifier, into which the checkpoint loads with
        ``strict=True``.

    Raises:
        ConfigError: If ``source`` is not a checkpoint of a published model,
            or ``target`` exists.
    """
    refuse_existing(target)
    published = unwrap(read_file(source))
    state_dict = convert_published(published)
    config = describe(published)
    init_default_scope('mmpretrain')
    model = MODELS.build(config)
    _require_same(state_dict, model.state_dict())
    model.load_state_dict(state_dict, strict=True)
    checkpoint = dict(meta=dict(model=config), state_dict=model.state_dict())
    write_new(target, content_of(checkpoint, target))
    return config


def describe(state_dict: dict[str, Tensor]) -> dict:
    """Derive the config of the classifier from a published state dict.

    Args:
        state_dict (dict[str, Tensor]): State dict with names that
            :func:`convert_published` accepts.

    Returns:
        dict: Config of an ``ImageClassifier`` of mmpretrain. Names and shapes
        cannot distinguish GELU from ReLU; a model without StarReLU is given
        GELU.
    """
    if 'pos_embed' in state_dict:
        backbone, dim = _describe_gfnet(state_dict)
        classes = len(state_dict['head.weight'])
        head = 'mmpretrain.LinearClsHead'
    else:
        backbone, dim = _describe_metaformer(state_dict)
        classes = len(state_dict['head.fc2.weight'])
        head = 'mmfft.MlpHead'
    return dict(
        type='mmpretrain.ImageClassifier',
        backbone=backbone,
        neck=dict(type='mmpretrain.GlobalAveragePooling'),
        head=dict(type=head, num_classes=classes, in_channels=dim),
    )


def _describe_metaformer(state_dict: dict) -> tuple[dict, int]:
    dims = [
        len(state_dict[f'downsample_layers.{i}.conv.weight']) for i in range(4)
    ]
    depths = _depths(state_dict, 'stages')
    mixers = tuple(_mixer(state_dict, i) for i in range(4))
    family = next(
        (
            f
            for f in (DFFormer, CDFFormer, GFFormer)
            if f.token_mixers == mixers
        ),
        None,
    )
    backbone = dict(
        type=f'mmfft.{(family or DFFormer).__name__}',
        arch=_arch(DFFormer, dict(embed_dims=dims, depths=depths)),
        out_indices=(3,),
        out_norm=False,
    )
    if family is None:
        backbone['token_mixers'] = mixers
    for i, mixer in enumerate(mixers):
        if mixer == 'DynamicFilter':
            prefix = f'stages.{i}.0.token_mixer.'
            filters = state_dict[f'{prefix}complex_weights'].shape[2]
            hidden = len(state_dict[f'{prefix}reweight.fc1.weight'])
            backbone.update(
                num_filters=filters, reweight_ratio=hidden / dims[i]
            )
        if mixer in ('DynamicFilter', 'ExpandedGlobalFilter'):
            rows = len(state_dict[f'stages.{i}.0.token_mixer.complex_weights'])
            backbone['img_size'] = rows * 4 * 2**i
    if 'stages.0.0.mlp.act.scale' not in state_dict:
        backbone['act_cfg'] = dict(type='GELU')
    return backbone, dims[-1]


def _mixer(state_dict: dict, stage: int) -> str:
    prefix = f'stages.{stage}.0.token_mixer.'
    if f'{prefix}reweight.fc1.weight' in state_dict:
        return 'DynamicFilter'
    if f'{prefix}complex_weights' in state_dict:
        return 'ExpandedGlobalFilter'
    return 'AFNO2D' if f'{prefix}w1' in state_dict else 'SepConv'


def _describe_gfnet(state_dict: dict) -> tuple[dict, int]:
    side = math.isqrt(state_dict['pos_embed'].shape[1])
    if 'patch_embed.proj.weight' in state_dict:
        weight = state_dict['patch_embed.proj.weight']
        dim, patch = len(weight), weight.shape[-1]
        depth = sum(k.endswith('norm1.weight') for k in state_dict)
        backbone = dict(
            type='mmfft.GFNet',
            arch=_arch(GFNet, dict(embed_dim=dim, depth=depth)),
            img_size=side * patch,
            patch_size=patch,
        )
        return backbone, dim
    dims = [len(state_dict[f'patch_embed.{i}.proj.weight']) for i in range(4)]
    # The initial gamma cannot be derived from a checkpoint and does not
    # affect a loaded model: any arch of these sizes will do.
    sizes = dict(embed_dims=dims, depths=_depths(state_dict, 'blocks'))
    backbone = dict(
        type='mmfft.GFNetPyramid',
        arch=_arch(GFNetPyramid, {**sizes, 'layer_scale': None}),
        img_size=side * 4,
        out_indices=(3,),
    )
    return backbone, dims[-1]


def _depths(state_dict: dict, root: str) -> list[int]:
    blocks = {
        tuple(k.split('.')[1:3]) for k in state_dict if k.startswith(root)
    }
    return [sum(stage == str(i) for stage, _ in blocks) for i in range(4)]


def _arch(cls: type, sizes: dict) -> str | dict:
    """Name of the arch with these sizes, or the sizes if none has them."""
    known = {k: v for k, v in sizes.items() if v is not None}
    for name, arch in cls.arch_zoo.items():
        if known == {k: arch[k] for k in known}:
            return name
    return {k: 1e-6 if v is None else v for k, v in sizes.items()}


def _require_same(state_dict: dict, own: dict) -> None:
    own = {k: v for k, v in own.items() if not k.endswith('.grid')}
    wrong = [k for k in own if k not in state_dict]
    wrong += [
        k
        for k, v in state_dict.items()
        if k not in own or v.shape != own[k].shape
    ]
    if wrong:
        raise ConfigError(
            f'the checkpoint is of a published family, but {len(wrong)} '
            f'tensors are missing or do not fit, such as {wrong[:5]}'
        )
