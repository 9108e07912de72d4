# Copyright (c) mmfft authors. All rights reserved.
"""Images and maps of logits resized as OpenCV, Pillow and PyTorch do."""

import numpy as np
from PIL import Image

Size = tuple[int, int]

FILTERS = {
    'bilinear': Image.Resampling.BILINEAR,
    'bicubic': Image.Resampling.BICUBIC,
}
# OpenCV multiplies the weights of neighbours by 2 ** 11 and rounds them.
_BITS = 11


def resize_image(
    image: np.ndarray, size: Size, backend: str, interpolation: str
) -> np.ndarray:
    """Resize an image as ``mmcv.imresize`` does, without mmcv.

    Pillow and OpenCV differ by much when an image becomes smaller: Pillow
    averages over all pixels that it leaves out, OpenCV takes four.

    Args:
        image (np.ndarray): Image, uint8 ``(H, W, 3)``.
        size (tuple[int, int]): New height and width.
        backend (str): ``'cv2'`` or ``'pillow'``.
        interpolation (str): ``'bilinear'`` or, by Pillow, ``'bicubic'``.

    Returns:
        np.ndarray: Image of that size, uint8.
    """
    if backend == 'pillow':
        picture = Image.fromarray(image)
        return np.asarray(picture.resize(size[::-1], FILTERS[interpolation]))
    if image.shape[:2] == size:
        return image
    if image.shape[:2] == (2 * size[0], 2 * size[1]):
        # OpenCV then takes means, which it rounds up where they end in .5.
        four = image.reshape(size[0], 2, size[1], 2, -1)
        return ((four.sum((1, 3), dtype=np.uint16) + 2) >> 2).astype(np.uint8)
    (top, bottom, down), (left, right, along) = (
        _neighbours(old, new) for old, new in zip(image.shape, size)
    )
    near, far = _whole_weights(along[:, None])
    rows = image.astype(np.int32)
    rows = (rows[:, left] * near + rows[:, right] * far) >> 4
    near, far = _whole_weights(down[:, None, None])
    upper = (rows[top] * near) >> 16
    lower = (rows[bottom] * far) >> 16
    return ((upper + lower + 2) >> 2).astype(np.uint8)


def resize_map(
    values: np.ndarray, size: Size, align_corners: bool = False
) -> np.ndarray:
    """Resize maps as ``torch.nn.functional.interpolate`` does bilinearly.

    Args:
        values (np.ndarray): Maps, float32 ``(C, H, W)``.
        size (tuple[int, int]): New height and width.
        align_corners (bool): Whether the centres of the corners stay corners,
            rather than their outer edges. Defaults to False.

    Returns:
        np.ndarray: Maps of that size, float32.
    """
    if values.shape[1:] == size:
        return values
    (top, bottom, down), (left, right, along) = (
        _neighbours(old, new, align_corners)
        for old, new in zip(values.shape[1:], size)
    )
    down = down[:, None]
    values = values[:, top] * (1 - down) + values[:, bottom] * down
    return values[..., left] * (1 - along) + values[..., right] * along


def _whole_weights(far: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both weights of neighbours in OpenCV's whole numbers."""
    near, far = (
        np.rint(weight * np.float32(2**_BITS)).astype(np.int32)
        for weight in (1 - far, far)
    )
    return near, far


def _neighbours(
    old: int, new: int, align_corners: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The two old positions around each new one, and the second's weight."""
    if align_corners:
        place = np.arange(new) * ((old - 1) / max(new - 1, 1))
    else:
        place = (np.arange(new) + 0.5) * (old / new) - 0.5
    place = place.astype(np.float32)
    first = np.floor(place).astype(np.int64)
    weight = place - first.astype(np.float32)
    # At an edge both are the same position, and OpenCV rounds either product.
    first, second = (i.clip(0, old - 1) for i in (first, first + 1))
    return first, second, weight
