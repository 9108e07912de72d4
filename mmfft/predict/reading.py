# Copyright (c) mmfft authors. All rights reserved.
"""Read an image, or say why it cannot be read."""

from pathlib import Path

import numpy as np
from mmcv.transforms import LoadImageFromFile

from ..errors import ConfigError


class UnreadableError(ConfigError):
    """A file or a camera cannot be read; others may be."""


def read_image(
    path: str | Path, load: LoadImageFromFile | None = None
) -> np.ndarray:
    """Read the file of an image.

    Args:
        path (str | Path): Path of the image.
        load (LoadImageFromFile, optional): Transform that reads it. Defaults
            to mmcv's own: BGR uint8 ``(H, W, 3)``, turned upright.

    Returns:
        np.ndarray: The image, as the transform reads it.

    Raises:
        UnreadableError: If the file does not exist or cannot be read.
    """
    if not Path(path).is_file():
        raise UnreadableError(f'image {str(path)!r} does not exist')
    try:
        return (load or LoadImageFromFile())(dict(img_path=str(path)))['img']
    # Every decoder has errors of its own.
    except Exception as error:
        reason = ' '.join(str(error).split()) or type(error).__name__
        raise UnreadableError(
            f'{Path(path).name!r} is not an image that can be read: {reason}'
        ) from error
