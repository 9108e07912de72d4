# Copyright (c) mmfft authors. All rights reserved.
"""Classifiers as folders that timm reads, on this disk or from its hub."""

import os
import shutil
from pathlib import Path

import timm
import torch
from mmengine.config import Config
from mmengine.runner import CheckpointLoader
from timm.models import save_for_hf
from torch import Tensor, nn

from .. import timm_models  # noqa: F401, registers the names
from ..checkpoints import unwrap
from ..checkpoints.writing import refuse_existing
from ..engine.class_names import class_names
from ..engine.models import require_checkpoint
from ..errors import ConfigError
from ..layers import GridParameter
from ..openmmlab.weights import load_into
from ..ops.spectrum import Grid
from .model_card import model_card
from .preparation import normalization, resizing


def write_hub_folder(
    checkpoint: str,
    name: str,
    folder: str,
    cfg: Config | None = None,
    license: str | None = None,
) -> dict:
    """Write ``config.json``, ``model.safetensors`` and ``README.md``.

    ``timm.create_model('local-dir:FOLDER', pretrained=True)`` gives the model
    once :mod:`mmfft.timm_models` is imported.

    Args:
        checkpoint (str): Path or URL of the checkpoint of a classifier, or
            ``mmfft://`` and a name. Number of classes, channels and grids are
            the file's.
        name (str): Name of the model in timm, such as ``'cdfformer_s18'``.
        folder (str): Folder to write; must not exist.
        cfg (Config, optional): mmpretrain's config of the checkpoint, for how
            its test prepares an image, for the names of the classes and for
            ``filter_resize`` and ``boundary`` of the backbone. Defaults to
            none: images are prepared, filters resized and borders filtered
            as for the published weights, and the classes have the names that
            the file tells.
        license (str, optional): Licence of the weights, as the hub names it,
            such as ``'apache-2.0'``. Defaults to that of the published
            weights for ``mmfft://``, to ``'unknown'`` for others.

    Returns:
        dict: What ``config.json`` says under ``pretrained_cfg``.

    Raises:
        ConfigError: If the name is unknown, the checkpoint cannot be read or
            is not of this model, the config prepares images as timm cannot,
            or the folder exists.
    """
    refuse_existing(folder)
    names = timm.list_models(module='timm_models')
    if name not in names:
        raise ConfigError(f'model {name!r} is not known: choose from {names}')
    require_checkpoint(checkpoint)
    published = checkpoint == f'mmfft://{name.replace("_", "-")}_in1k'
    loaded = CheckpointLoader.load_checkpoint(checkpoint, 'cpu', 'silent')
    source = f'checkpoint {checkpoint!r}'
    # The only arguments that are neither in the weights nor in the name.
    options = {}
    if cfg is not None:
        backbone = cfg.model.get('backbone', {})
        options['filter_resize'] = backbone.get('filter_resize', 'bicubic')
        options['boundary'] = backbone.get('boundary', 'circular')
    model = _model_of(unwrap(loaded), name, source, **options)
    described = model.pretrained_cfg
    size = model.backbone.img_size
    described['num_classes'] = model.num_classes
    described['input_size'] = (model.in_chans, *size)
    if cfg is not None:
        described.update(_preparation(cfg, described['input_size']))
    size = described['input_size'][1:]
    described['pool_size'] = model.backbone.grids(size)[-1]
    if not published:
        # What is known of the published weights is not true of these.
        described.update(tag=None, origin_url=None, description=None)
        described['license'] = 'unknown'
    if license is not None:
        described['license'] = license
    card = model_card(model, name, published, described['license'])
    labels = _labels(cfg, loaded.get('meta') or {}, model.num_classes)
    part = Path(folder).with_name(f'.{Path(folder).name}.{os.getpid()}')
    try:
        save_for_hf(
            model,
            str(part),
            model_config=dict(label_names=labels) if labels else None,
            # Which timm records by itself from 1.0.31 on.
            model_args=dict(img_size=model.backbone.img_size, **options),
            safe_serialization=True,
        )
        (part / 'README.md').write_text(card, encoding='utf-8')
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return described


def _model_of(
    weights: dict[str, Tensor], name: str, source: str, **options
) -> nn.Module:
    """The model of a name that a file was saved from, with its weights."""
    with torch.device('meta'):
        reference = timm.create_model(name)
    cfg = reference.pretrained_cfg
    needed = [f'{cfg[key]}.weight' for key in ('first_conv', 'classifier')]
    if not all(one in weights for one in needed):
        raise ConfigError(
            f'{source} is not of a classifier {name!r}, which has '
            f'{" and ".join(needed)}: it has {list(weights)[:3]}'
        )
    stem, classifier = (weights[one] for one in needed)
    model = timm.create_model(
        name,
        num_classes=len(classifier),
        in_chans=stem.shape[1],
        img_size=_img_size(reference, weights),
        **options,
    ).eval()
    fit = load_into(model, weights, source)
    if not fit.complete:
        raise ConfigError(fit.problem(source))
    if fit.left_over:
        raise ConfigError(
            f'{source} has {len(fit.left_over)} tensors that {name!r} does '
            f'not, such as {fit.left_over[:3]}'
        )
    return model


def _img_size(model: nn.Module, weights: dict[str, Tensor]) -> Grid:
    """Input size of which the grids of the file are, as far as they tell."""
    levels = f'backbone.{model.backbone.level_layers}.'
    for name, module in model.named_modules():
        if isinstance(module, GridParameter):
            grid = module.incoming_grid(weights, f'{name}.')
            if grid is not None:
                # The position embedding stands before the first level.
                in_level = name.startswith(levels)
                level = name.removeprefix(levels).split('.')[0]
                info = model.feature_info[int(level) if in_level else 0]
                return tuple(n * info['reduction'] for n in grid)
    return model.backbone.img_size


def _labels(cfg: Config | None, meta: dict, count: int) -> list[str]:
    """Names of the classes; none if nothing tells them."""
    known = cfg or Config(dict(model=dict(num_classes=count)))
    names, _ = class_names(known, meta)
    if len(names) != count:
        raise ConfigError(
            f'{len(names)} names of classes are told, and the checkpoint has '
            f'{count} classes'
        )
    return [] if names == tuple(map(str, range(count))) else list(names)


def _preparation(cfg: Config, input_size: tuple[int, int, int]) -> dict:
    """What a config's test does to an image, in timm's words."""
    told = normalization(cfg)
    if told['channel_order'] != 'RGB':
        raise ConfigError(
            'data_preprocessor.to_rgb: the config prepares images as BGR, '
            'which timm cannot'
        )
    channels, *size = input_size
    values = dict(mean=[0.0] * channels, std=[1.0] * channels) | told
    found: dict = {
        key: tuple(round(value / 255, 6) for value in values[key])
        for key in ('mean', 'std')
    }
    if len(found['mean']) != channels:
        raise ConfigError(
            f'data_preprocessor.mean has {len(found["mean"])} channels in the '
            f'config, and the images of the checkpoint {channels}'
        )
    steps = resizing(cfg)
    kinds = [step['step'] for step in steps]
    found.update(crop_pct=1.0, crop_mode='center')
    if kinds == ['edge', 'center_crop'] and steps[0]['edge'] == 'short':
        size = steps[1]['size']
        found['crop_pct'] = min(size) / steps[0]['length']
    elif kinds == ['resize']:
        size = steps[0]['size']
        found['crop_mode'] = 'squash'
    elif kinds:
        raise ConfigError(
            f"the config's test resizes by {kinds}, which timm cannot: it "
            'resizes the short edge and crops the center, or resizes to a size'
        )
    if steps:
        found['interpolation'] = steps[0]['interpolation']
    return dict(found, input_size=(channels, *size))
