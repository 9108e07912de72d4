# Copyright (c) mmfft authors. All rights reserved.
"""Whether the settings of a data loader fit each other."""

from collections.abc import Iterator

from mmengine.config import Config

from .settings import Disagreement

# What PyTorch refuses without workers, with the value that means nothing.
_FOR_WORKERS = dict(persistent_workers=False, prefetch_factor=None, timeout=0)


def loaders(cfg: Config, split: str) -> Iterator[Disagreement]:
    """Settings of workers that a loader does not have."""
    loader = cfg.get(f'{split}_dataloader')
    if not isinstance(loader, dict) or loader.get('num_workers', 0):
        return
    for key, nothing in _FOR_WORKERS.items():
        value = loader.get(key, nothing)
        if value != nothing:
            yield Disagreement(
                f'{split}_dataloader.{key}',
                f'{value} needs workers, and num_workers is 0: set '
                f'{key}={nothing}, or num_workers=1 or more',
            )
