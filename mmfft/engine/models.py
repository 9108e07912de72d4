# Copyright (c) mmfft authors. All rights reserved.
"""Build models from configs and checkpoints."""

from copy import deepcopy
from pathlib import Path

from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS
from mmengine.runner import CheckpointLoader
from torch import nn

from ..checkpoints import unwrap
from ..checkpoints.reading import kind_of_folder
from ..errors import ConfigError
from ..openmmlab.scopes import enter_scope
from ..openmmlab.weights import load_into


def build_model(
    cfg: Config, checkpoint: str | None = None, part: str | None = None
) -> nn.Module:
    """Build the model of a config, with the weights of a checkpoint.

    Args:
        cfg (Config): Config of any toolbox.
        checkpoint (str, optional): Path or URL of a file, or ``mmfft://`` and
            a name. Defaults to none: the weights are as the constructors
            leave them, and ``init_cfg`` is not followed.
        part (str, optional): Key of ``cfg.model``, such as ``'backbone'``,
            to build only this part. Defaults to the whole model.

    Returns:
        nn.Module: Model on the CPU, in evaluation mode, with BN instead of
        SyncBN.

    Raises:
        ConfigError: See :func:`load_weights`.
    """
    enter_scope(cfg)
    # The toolboxes modify the config from which they build.
    settings = deepcopy(cfg.model if part is None else cfg.model[part])
    if part is None and 'data_preprocessor' in cfg:
        # mmpretrain's configs have it at their top, which mmengine's Runner
        # handles in the same way.
        preprocessor = deepcopy(cfg.data_preprocessor)
        settings.setdefault('data_preprocessor', preprocessor)
    model = revert_sync_batchnorm(MODELS.build(settings))
    model.eval()  # which not all backbones of the toolboxes return
    if checkpoint is not None:
        load_weights(model, checkpoint, f'{part}.' if part else '')
    return model


def load_weights(model: nn.Module, checkpoint: str, prefix: str = '') -> dict:
    """Load all weights of a model from a checkpoint.

    The file may contain more tensors than the model. A tensor that only the
    model has would keep random numbers, and the results would be meaningless:
    they would be as well if a backbone of ours had fewer blocks than the
    file, or another activation.

    Args:
        model (nn.Module): Model that is changed in place.
        checkpoint (str): Path or URL of a file, or ``mmfft://`` and a name.
        prefix (str): Prefix of the names of the model's tensors in the file.
            Defaults to none.

    Returns:
        dict: What the file tells of its training under ``meta``; empty if
        nothing.

    Raises:
        ConfigError: If the checkpoint does not exist or cannot be read, lacks
            a tensor of the model, has one of another shape, or is of another
            architecture.
    """
    require_checkpoint(checkpoint)
    loaded = CheckpointLoader.load_checkpoint(checkpoint, 'cpu')
    source = f'checkpoint {checkpoint!r}'
    fit = load_into(model, unwrap(loaded), source, prefix)
    if not fit.complete:
        raise ConfigError(fit.problem(source))
    return loaded.get('meta') or {}


def image_channels(model: nn.Module) -> int:
    """Channels of the images that a model takes, those of its stem."""
    convs = (m for m in model.modules() if isinstance(m, nn.Conv2d))
    return next(convs).in_channels


def require_checkpoint(checkpoint: str) -> None:
    """Check that a checkpoint exists before anything is built for it.

    Args:
        checkpoint (str): Path of a file; a URL is not checked.

    Raises:
        ConfigError: If the file does not exist, or is a folder.
    """
    path = Path(checkpoint)
    if path.is_dir():
        raise ConfigError(f'checkpoint {checkpoint!r} {kind_of_folder(path)}')
    if not path.is_file() and '://' not in checkpoint:
        raise ConfigError(f'checkpoint {checkpoint!r} does not exist')
