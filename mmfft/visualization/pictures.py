# Copyright (c) mmfft authors. All rights reserved.
"""Images of any number of bands and any type, for the eye."""

import numpy as np

# Percentiles of a band that become black and white, if it has not 8 bits.
DARK, BRIGHT = 2, 98


def as_picture(image: np.ndarray, is_bgr: bool = True) -> np.ndarray:
    """Make an image visible as it was read.

    Of an image with other bands than red, green and blue the first three are
    shown, or the first one in grey. What has not 8 bits is scaled to them,
    from the 2nd to the 98th percentile of each band.

    Args:
        image (np.ndarray): Image ``(H, W)`` or ``(H, W, C)``.
        is_bgr (bool): Whether the first three bands are blue, green and red,
            as OpenCV reads them. Defaults to True.

    Returns:
        np.ndarray: RGB uint8 ``(H, W, 3)``.
    """
    image = image.reshape(*image.shape[:2], -1)
    if image.shape[2] < 3:
        image = image[..., :1].repeat(3, axis=2)
    else:
        image = image[..., 2::-1] if is_bgr else image[..., :3]
    if image.dtype == np.uint8:
        return np.ascontiguousarray(image)
    image = np.nan_to_num(image.astype(np.float32))
    # Floats that the config has made of 8 bits are in their range.
    if not (image.min() >= 0 and 1 < image.max() <= 255):
        dark, bright = np.percentile(image, (DARK, BRIGHT), axis=(0, 1))
        image = 255 * (image - dark) / np.maximum(bright - dark, 1e-12)
    return image.clip(0, 255).astype(np.uint8)
