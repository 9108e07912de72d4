# Copyright (c) mmfft authors. All rights reserved.
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.dataset import default_collate

from ..errors import ConfigError, require_size
from ..registry import FUNCTIONS

Size = int | tuple[int, int]


@FUNCTIONS.register_module()
def collate_at_random_size(
    batch: Sequence[dict], sizes: Sequence[Size]
) -> dict[str, Any]:
    """Collate a batch of mmpretrain at a size that is drawn for it.

    For ``train_dataloader.collate_fn``, so that a classifier meets other grids
    than the one for which its filters are stored. The images of a batch are
    resized together, bicubic and antialiased.

    Args:
        batch (Sequence[dict]): Samples with ``inputs``, images of one size
            ``(C, H, W)``.
        sizes (Sequence[int | tuple[int, int]]): Sizes ``(H, W)``, one number
            for a square, each as likely as any other. A size that stands
            twice is twice as likely.

    Returns:
        dict: As mmengine's ``default_collate``; ``inputs`` keep their type.

    Raises:
        ConfigError: If there are no sizes or one is not a size.
    """
    if not isinstance(sizes, (list, tuple)) or not sizes:
        raise ConfigError(f'sizes must be a list of sizes, got {sizes!r}')
    grids = [require_size('sizes', size) for size in sizes]
    data = default_collate(batch)
    images = data['inputs']
    size = grids[int(torch.randint(len(grids), ()))]
    if size != tuple(images.shape[2:]):
        resized = F.interpolate(
            images.float(),
            size,
            mode='bicubic',
            align_corners=False,
            antialias=True,
        )
        if not images.is_floating_point():
            resized = resized.round().clamp(0, 255)
        data['inputs'] = resized.to(images.dtype)
    return data
