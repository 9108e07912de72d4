# Copyright (c) mmfft authors. All rights reserved.
"""Sizes of the images of a padded batch, on their way to the backbone.

Detectors and segmentors pass the batch to their backbone as it is, and nothing
else. The sizes therefore travel as an attribute of that tensor.
"""

import logging
import weakref
from collections.abc import Sequence

from mmengine.logging import print_log
from torch import Tensor

from ..ops.spectrum import Grid

_ATTRIBUTE = 'valid_sizes'
_warned = False


class _ValidSizes(list):
    """Sizes, which know whether a backbone has read them."""

    are_read = False


def give_valid_sizes(batch: Tensor, sizes: Sequence[Grid]) -> None:
    """Tell the backbone that takes a batch how large its images are.

    A warning is logged if none has read them when the batch is deleted: the
    backbone may be of another library, and a segmentor that slides a window
    cuts the batch into new tensors.

    Args:
        batch (Tensor): Shape ``(B, C, H, W)``.
        sizes (Sequence[tuple[int, int]]): ``(h, w)`` of each image.
    """
    if all(size == tuple(batch.shape[2:]) for size in sizes):
        return
    given = _ValidSizes(sizes)
    setattr(batch, _ATTRIBUTE, given)
    weakref.finalize(batch, _warn_if_unread, given).atexit = False


def read_valid_sizes(batch: Tensor) -> Sequence[Grid] | None:
    """Sizes that a batch was given, None if it has no padding or was not.

    Args:
        batch (Tensor): Input of a backbone.
    """
    if not isinstance(batch, Tensor):  # a proxy of torch.fx
        return None
    given = getattr(batch, _ATTRIBUTE, None)
    if given is not None:
        given.are_read = True
    return given


def _warn_if_unread(given: _ValidSizes) -> None:
    global _warned
    if given.are_read or _warned:
        return
    _warned = True
    print_log(
        'The data preprocessor gave a batch the sizes of its images, but no '
        'backbone of mmfft received that batch: features depend on the '
        'padding, as they do without the sizes. Reasons can be a backbone of '
        "another library or mmsegmentation's test_cfg.mode='slide'",
        logger='current',
        level=logging.WARNING,
    )
