# Copyright (c) mmfft authors. All rights reserved.
"""The one way from a config and a checkpoint to a model."""

from copy import deepcopy
from pathlib import Path

from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import CheckpointLoader
from torch import nn

from ..checkpoints import unwrap
from ..errors import ConfigError


def build_model(
    cfg: Config, checkpoint: str | None = None, part: str | None = None
) -> nn.Module:
    """Build the model of a config, with the weights of a checkpoint.

    Args:
        cfg (Config): Config of any toolbox.
        checkpoint (str, optional): Path of a file, an address or
            ``mmfft://``. Defaults to none: the weights are as the
            constructors leave them, and ``init_cfg`` is not followed.
        part (str, optional): Key of ``cfg.model``, such as ``'backbone'``,
            to build only this part. Defaults to the whole model.

    Returns:
        nn.Module: Model on the CPU, in evaluation mode, with BN for SyncBN.

    Raises:
        ConfigError: See :func:`load_weights`.
    """
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    # The toolboxes write into what they build from.
    settings = deepcopy(cfg.model if part is None else cfg.model[part])
    if part is None and 'data_preprocessor' in cfg:
        # Where mmpretrain's configs have it; mmengine's Runner does the same.
        preprocessor = deepcopy(cfg.data_preprocessor)
        settings.setdefault('data_preprocessor', preprocessor)
    model = revert_sync_batchnorm(MODELS.build(settings)).eval()
    if checkpoint is not None:
        load_weights(model, checkpoint, f'{part}.' if part else '')
    return model


def load_weights(model: nn.Module, checkpoint: str, prefix: str = '') -> None:
    """Give a model the weights of a checkpoint, all of them.

    The file may hold more than the model has. What the model has more than
    the file would keep random numbers, and its results would mean nothing.

    Args:
        model (nn.Module): Model that is changed in place.
        checkpoint (str): Path of a file, an address or ``mmfft://``.
        prefix (str): Beginning of the model's names in the file. Defaults to
            none.

    Raises:
        ConfigError: If the checkpoint does not exist or cannot be read, lacks
            a tensor of the model or has one of another shape.
    """
    require_checkpoint(checkpoint)
    loaded = unwrap(CheckpointLoader.load_checkpoint(checkpoint, 'cpu'))
    names = {name.removeprefix('module.'): name for name in loaded}
    state_dict = {
        name.removeprefix(prefix): loaded[in_file]
        for name, in_file in names.items()
        if name.startswith(prefix)
    }
    try:
        missing = model.load_state_dict(state_dict, strict=False).missing_keys
    except RuntimeError as error:
        # PyTorch's first line names the class, the second one tensor.
        reason = str(error).splitlines()[-1].strip()
        raise ConfigError(
            f'checkpoint {checkpoint!r} does not fit the config: {reason}'
        ) from error
    if missing:
        raise ConfigError(
            f'checkpoint {checkpoint!r} lacks {len(missing)} tensors of the '
            f"config's model, as {[prefix + name for name in missing[:3]]}; "
            f'it has {list(names)[:3]}'
        )


def require_checkpoint(checkpoint: str) -> None:
    """See that a checkpoint is there before anything is built for it.

    Args:
        checkpoint (str): Path of a file; an address is not looked at.

    Raises:
        ConfigError: If there is no such file.
    """
    if not Path(checkpoint).is_file() and '://' not in checkpoint:
        raise ConfigError(f'checkpoint {checkpoint!r} does not exist')
