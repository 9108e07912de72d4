# Copyright (c) mmfft authors. All rights reserved.
"""The part of a training's checkpoint that is given to others."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from ..errors import ConfigError
from .reading import read_file, unwrap
from .safetensors_files import SUFFIX
from .writing import content_of, make_readable, write_new


def publish(
    source: str,
    target: str,
    keys: Sequence[str] = ('meta', 'state_dict'),
    averaged: bool = True,
) -> Path:
    """Write some entries of a checkpoint to a file with a hash in its name.

    The name ends as those of the toolboxes do, by which downloads are checked.

    Args:
        source (str): Path of a checkpoint.
        target (str): Path to write to, before the hash comes into its name.
            It is safetensors if it ends so, PyTorch's format otherwise.
        keys (Sequence[str]): Entries that are kept. Defaults to what is
            needed to test, or to start another training.
        averaged (bool): Whether to take averaged weights, if the run averaged
            them. Defaults to True.

    Returns:
        Path: The file, such as ``target-0123abcd.pth``.

    Raises:
        ConfigError: If the source cannot be read or does not have what is
            asked for, if safetensors cannot hold it, or if the file exists
            already.
    """
    checkpoint = read_file(source, 'cpu')
    if 'state_dict' not in checkpoint:
        checkpoint = dict(state_dict=unwrap(checkpoint))
    if not averaged:
        checkpoint['state_dict'] = _not_averaged(checkpoint, source)
    if lacking := set(keys) - set(checkpoint) - {'meta'}:
        raise ConfigError(
            f'checkpoint {source!r} has no {sorted(lacking)}: choose from '
            f'{sorted(checkpoint)}'
        )
    kept, _ = make_readable(
        {k: checkpoint[k] for k in keys if k in checkpoint}
    )
    content = content_of(kept, target)
    digest = hashlib.sha256(content).hexdigest()[:8]
    ending = SUFFIX if target.endswith(SUFFIX) else '.pth'
    path = Path(f'{target.removesuffix(ending)}-{digest}{ending}')
    write_new(path, content)
    return path


def _not_averaged(checkpoint: dict, source: str) -> dict:
    """The weights of the optimizer, which EMAHook put aside when saving."""
    if 'ema_state_dict' not in checkpoint:
        raise ConfigError(
            f'checkpoint {source!r} has no averaged weights (ema_state_dict)'
        )
    aside = checkpoint['ema_state_dict']
    state_dict = checkpoint['state_dict']
    return {n: aside.get(f'module.{n}', w) for n, w in state_dict.items()}
