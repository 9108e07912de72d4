# Copyright (c) mmfft authors. All rights reserved.
"""Load our backbones and timm's models by name, and call them alike."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import timm
import torch
from mmengine.config import Config
from mmengine.model import initialize
from PIL import Image
from torch import Tensor, nn

from .. import timm_models  # noqa: F401 - registers ours
from ..engine import build_model, load_config, load_weights
from ..engine.trial import drop_pretrained
from ..errors import ConfigError
from ..models import FourierBackbone

# How a command line names a model, for its help.
SPEC_HELP = (
    'a config file or the name of a timm model (ours are among them), '
    'followed by =CHECKPOINT for weights that are not random'
)


def label(spec: str) -> str:
    """Short name of a model for a picture, which marks random weights."""
    name, _, checkpoint = spec.partition('=')
    if checkpoint:
        path = Path(checkpoint)
        return f'{path.parent.name}/{path.stem}'
    if name.endswith('.py'):
        # Names of configs are long, so each part gets a line.
        name = Path(name).stem.replace('_', '\n')
    return f'{name}\n(random weights)'


def load_feature_model(
    spec: str, img_size: int | None = None, **options
) -> nn.Module:
    """Load a model for a study of its features.

    Random weights are those with which a training starts: an ``init_cfg`` of
    the config is followed, unless it loads a file.

    Args:
        spec (str): Path of a config, whose backbone is used, or name of a
            timm model, such as ``'caformer_s18'`` or our ``'dfformer_s18'``.
            ``=CHECKPOINT`` after it names a file with the weights; without
            it they are random and nothing is downloaded.
        img_size (int, optional): Image size for which a model of fixed size
            or with stored filters is built. Defaults to the model's own.
        **options: Arguments of the backbone that replace those of the config,
            or of timm's model.

    Returns:
        nn.Module: Model in evaluation mode, on the CPU.

    Raises:
        ConfigError: If the model does not exist, the checkpoint does not fit,
            or an ``init_cfg`` of the config overrides a given ``init``.
    """
    name, _, checkpoint = spec.partition('=')
    if name.endswith('.py'):
        return backbone_of(load_config(name), checkpoint, img_size, **options)
    return _timm_model(name, checkpoint, img_size, options).eval()


def backbone_of(
    cfg: Config,
    checkpoint: str | None = None,
    img_size: int | None = None,
    **options,
) -> nn.Module:
    """Build the backbone of a config, as :func:`.load_feature_model` does.

    Args:
        cfg (Config): Config of any toolbox, which is changed in place.
        checkpoint (str, optional): File with the weights. Defaults to none.
        img_size (int, optional): See there.
        **options: See there.

    Returns:
        nn.Module: Backbone in evaluation mode, on the CPU.

    Raises:
        ConfigError: See there.
    """
    path = str(cfg.filename)
    if 'backbone' not in cfg.get('model', {}):
        raise ConfigError(f'the model of {path!r} has no backbone')
    drop_pretrained(cfg.model.backbone)
    if 'init' in options and cfg.model.backbone.get('init_cfg'):
        raise ConfigError(
            f'init={options["init"]!r} would have no effect: '
            f'model.backbone.init_cfg of {path!r} replaces it. Set it to None'
        )
    cfg.model.backbone.update(options)
    if img_size and 'img_size' in cfg.model.backbone:
        cfg.model.backbone.img_size = img_size
    backbone = build_model(cfg, checkpoint or None, part='backbone')
    if not checkpoint and isinstance(backbone, FourierBackbone):
        # Not init_weights(), which logs every parameter.
        initialize(backbone, backbone.init_cfg)
    # mmpretrain's wrapper of a timm model.
    model = getattr(backbone, 'timm_model', backbone)
    model.eval()  # which not all backbones of the toolboxes return
    return model


def _timm_model(
    name: str, checkpoint: str, img_size: int | None, options: dict
) -> nn.Module:
    if not timm.is_model(name):
        raise ConfigError(
            f'{name!r} is neither a config file (.py) nor a model of timm'
        )
    options = dict(options, num_classes=0)
    if img_size:
        try:
            model = timm.create_model(name, img_size=img_size, **options)
        except TypeError:  # a model of any size, which takes no img_size
            model = timm.create_model(name, **options)
    else:
        model = timm.create_model(name, **options)
    if checkpoint:
        # Not by timm, which refuses a file with a classifier.
        load_weights(model, checkpoint)
    return model


def features_at(model: nn.Module, x: Tensor, stride: int) -> Tensor:
    """Compute the features of the last stage or block with a given stride.

    Args:
        model (nn.Module): Model from :func:`.load_feature_model`.
        x (Tensor): Images ``(B, C, H, W)``.
        stride (int): Pixels of the image per position of the features.

    Returns:
        Tensor: Features of shape ``(B, C, h, w)``, before an output norm.

    Raises:
        ConfigError: If the model has no such features.
    """
    by_stride = {
        round(x.shape[2] / out.shape[2]): out for out in all_features(model, x)
    }
    if stride not in by_stride:
        raise ConfigError(
            f'strides: {type(model).__name__} has features of stride '
            f'{list(by_stride)}, not {stride}'
        )
    return by_stride[stride]


def all_features(model: nn.Module, x: Tensor) -> Sequence[Tensor]:
    """Compute the features of every stage or block.

    Args:
        model (nn.Module): Model from :func:`.load_feature_model`.
        x (Tensor): Images ``(B, C, H, W)``.

    Returns:
        Sequence[Tensor]: Features of shape ``(B, C, h, w)``, before an output
        norm; those of a toolbox's backbone are what it returns.

    Raises:
        ConfigError: If the model returns no maps.
    """
    if isinstance(model, FourierBackbone):
        levels = range(model.out_indices[-1] + 1)
        outs = model.forward_levels(x, levels)
        outs = [out.permute(0, 3, 1, 2) for out in outs]
    elif hasattr(model, 'forward_intermediates'):
        outs = model.forward_intermediates(x, intermediates_only=True)
    else:
        # The toolboxes' backbones return the stages of their out_indices.
        outs = model(x)
    if not isinstance(outs, (list, tuple)) or any(o.dim() != 4 for o in outs):
        raise ConfigError(
            f'{type(model).__name__} does not return maps of features: use a '
            'backbone of stages, from mmfft, timm or a toolbox'
        )
    return outs


def last_features(model: nn.Module, x: Tensor) -> Tensor:
    """Compute only the features of the last stage, as used by a classifier.

    Args:
        model (nn.Module): Model from :func:`.load_feature_model`.
        x (Tensor): Images ``(B, C, H, W)``.

    Returns:
        Tensor: The features, in the model's own layout.
    """
    if isinstance(model, FourierBackbone):
        return model.forward_levels(x, model.out_indices[-1:])[-1]
    outs = getattr(model, 'forward_features', model)(x)
    # The toolboxes' backbones return a tuple.
    return outs[-1] if isinstance(outs, (list, tuple)) else outs


def preprocessor_of(spec: str) -> dict | None:
    """Settings of the ``data_preprocessor`` of a config.

    Args:
        spec (str): As for :func:`.load_feature_model`.

    Returns:
        dict | None: The settings; None for a model of timm, or a config
        without them.

    Raises:
        ConfigError: If the config does not exist.
    """
    name = spec.partition('=')[0]
    if not name.endswith('.py'):
        return None
    cfg = load_config(name)
    # As in build_model.
    model = cfg.get('model') or {}
    return model.get('data_preprocessor') or cfg.get('data_preprocessor')


def read_images(
    folder: str,
    size: int,
    count: int,
    channels: int = 3,
    preprocessor: dict | None = None,
) -> Tensor:
    """Read and normalize images for any of the models.

    Args:
        folder (str): Folder of PNG or JPEG images, also in its subfolders.
        size (int): Side to which they are resized, in pixels.
        count (int): Largest number of images, evenly spaced in the folder.
        channels (int): Channels of the models' images: 3 for RGB, 1 for grey.
            Defaults to 3.
        preprocessor (dict, optional): Settings from :func:`preprocessor_of`
            by which images are normalized. Defaults to none: as for ImageNet.

    Returns:
        Tensor: Images of shape ``(N, channels, size, size)``.

    Raises:
        ConfigError: If the folder contains no image, or the models take
            other channels.
    """
    if channels not in (1, 3):
        raise ConfigError(
            f'--images gives RGB or grey, and the model takes {channels} '
            'channels'
        )
    files = sorted(
        path
        for path in Path(folder).rglob('*')
        if path.suffix.lower() in ('.png', '.jpg', '.jpeg')
    )
    if not files:
        raise ConfigError(f'{folder!r} holds no .png, .jpg or .jpeg image')
    step = max(1, len(files) // count)
    mean, std, is_rgb = _normalization(preprocessor)
    if channels == 1:
        mean, std = mean.mean(keepdims=True), std.mean(keepdims=True)
    images = []
    for path in files[::step][:count]:
        with Image.open(path) as image:
            image = image.convert('RGB' if channels == 3 else 'L')
            image = image.resize((size, size), Image.BICUBIC)
        pixels = np.asarray(image, dtype=np.float32) / 255
        pixels = pixels.reshape(size, size, channels)
        if not is_rgb:
            pixels = pixels[..., ::-1]
        images.append(torch.from_numpy((pixels - mean) / std))
    return torch.stack(images).permute(0, 3, 1, 2).contiguous()


def _normalization(
    preprocessor: dict | None,
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Mean and deviation of pixels from 0 to 1, and whether they are RGB."""
    if preprocessor is None:
        mean = timm.data.IMAGENET_DEFAULT_MEAN
        std = timm.data.IMAGENET_DEFAULT_STD
        return np.float32(mean), np.float32(std), True
    mean, std = (
        np.divide(preprocessor.get(key) or [default], 255, dtype=np.float32)
        for key, default in [('mean', 0.0), ('std', 1.0)]
    )
    # Pipelines read BGR; each toolbox names the conversion in its own way.
    names = ('to_rgb', 'bgr_to_rgb', 'rgb_to_bgr')
    return mean, std, any(preprocessor.get(name) for name in names)
