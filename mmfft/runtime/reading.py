# Copyright (c) mmfft authors. All rights reserved.
"""Files of images read by Pillow as mmcv reads them."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from ..errors import ConfigError

# Pillow's modes that OpenCV turns into colours in the same way: grey values
# are repeated, palettes looked up and transparency is ignored.
EIGHT_BITS = ('1', 'L', 'LA', 'P', 'PA', 'RGB', 'RGBA', 'RGBX')
SIXTEEN_BITS = ('I;16', 'I;16L', 'I;16B', 'I;16N')


def read_image(path: str | Path) -> np.ndarray:
    """Read the file of an image, upright.

    Args:
        path (str | Path): Path of the image.

    Returns:
        np.ndarray: Image, RGB uint8 ``(H, W, 3)``. Of 16 bits the upper
        eight are kept.

    Raises:
        ConfigError: If the file does not exist or cannot be read, or its
            pixels are neither grey nor red, green and blue of 8 or 16 bits.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f'image {str(path)!r} does not exist')
    try:
        with Image.open(path) as picture:
            picture.load()
            picture = ImageOps.exif_transpose(picture)
    # Every decoder has errors of its own.
    except Exception as error:
        reason = ' '.join(str(error).split()) or type(error).__name__
        raise ConfigError(
            f'{str(path)!r} is not an image that can be read: {reason}'
        ) from error
    if picture.mode in SIXTEEN_BITS:
        grey = (np.asarray(picture) >> 8).astype(np.uint8)
        return grey[..., None].repeat(3, axis=2)
    if picture.mode not in EIGHT_BITS:
        raise ConfigError(
            f'{str(path)!r} has pixels of the kind {picture.mode!r}; it must '
            'be grey or RGB, of 8 or 16 bits'
        )
    return np.asarray(picture.convert('RGB'))
