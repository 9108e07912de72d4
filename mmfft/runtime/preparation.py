# Copyright (c) mmfft authors. All rights reserved.
"""How an image becomes the input of a network, as told by an ONNX file."""

from dataclasses import dataclass

import numpy as np

from ..errors import require_one_of
from .resizing import Size, resize_image


@dataclass
class Preparation:
    """What the toolbox of a model does to an image before the network.

    ``resize`` is a list of steps, each a dict with ``step`` and:

    - ``'resize'``: to the ``size`` ``(H, W)``.
    - ``'fit'``: as large as fits into ``long`` by ``short`` pixels, either
      way round, with the ratio of the sides kept.
    - ``'edge'``: until the ``edge`` (``'short'``, ``'long'``, ``'width'`` or
      ``'height'``) has ``length`` pixels, with the ratio kept.
    - ``'multiple'``: until both sides are multiples of ``divisor``.
    - ``'center_crop'``: the middle part of the ``size`` ``(H, W)``.

    All but the last have the arguments ``backend`` and ``interpolation`` of
    :func:`resize_image`.

    Args:
        resize (list[dict]): Steps, in order.
        channel_order (str): ``'RGB'`` or ``'BGR'``.
        mean (list[float], optional): Mean of each channel, from 0 to 255.
            Defaults to none: the image is not normalized.
        std (list[float], optional): Standard deviation of each channel.
        padding (dict, optional): ``value`` to the right and below, after the
            normalization, up to a multiple of ``divisor`` or at least the
            ``size``. Defaults to none.
    """

    resize: list[dict]
    channel_order: str
    mean: list[float] | None = None
    std: list[float] | None = None
    padding: dict | None = None

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, Size]:
        """Prepare an image.

        Args:
            image (np.ndarray): Image, RGB uint8 ``(H, W, 3)``.

        Returns:
            tuple[np.ndarray, tuple[int, int]]: Input of the network, float32
            ``(1, 3, H, W)``, and the height and width of the image in it; the
            rest is padding.
        """
        for step in self.resize:
            image = _STEPS[step['step']](image, step)
        size = image.shape[:2]
        if self.channel_order == 'BGR':
            image = image[..., ::-1]
        values = image.astype(np.float32)
        if self.mean is not None:
            mean, std = np.array([self.mean, self.std], dtype=np.float32)
            values = (values - mean) / std
        values = self._pad(values).transpose(2, 0, 1)[None]
        return np.ascontiguousarray(values), size

    def __post_init__(self) -> None:
        for step in self.resize:
            require_one_of('step of resize', step['step'], tuple(_STEPS))

    def _pad(self, values: np.ndarray) -> np.ndarray:
        if self.padding is None:
            return values
        sides = values.shape[:2]
        if 'size' in self.padding:
            full = self.padding['size']
        else:
            full = _multiple(sides, self.padding['divisor'])
        added = [(0, max(0, new - old)) for old, new in zip(sides, full)]
        value = self.padding['value']
        return np.pad(values, [*added, (0, 0)], constant_values=value)


def _multiple(size: Size, divisor: int) -> Size:
    height, width = (-(-side // divisor) * divisor for side in size)
    return height, width


def _to(image: np.ndarray, size: Size, step: dict) -> np.ndarray:
    return resize_image(image, size, step['backend'], step['interpolation'])


def _resize(image: np.ndarray, step: dict) -> np.ndarray:
    return _to(image, tuple(step['size']), step)


def _fit(image: np.ndarray, step: dict) -> np.ndarray:
    sides = image.shape[:2]
    factor = min(step['long'] / max(sides), step['short'] / min(sides))
    height, width = (int(side * factor + 0.5) for side in sides)
    return _to(image, (height, width), step)


def _edge(image: np.ndarray, step: dict) -> np.ndarray:
    height, width = image.shape[:2]
    length = step['length']
    narrow = {
        'short': width < height,
        'long': width > height,
        'width': True,
        'height': False,
    }
    # The product first: mmpretrain cuts off what comes after the point.
    if narrow[step['edge']]:
        size = int(length * height / width), length
    else:
        size = length, int(length * width / height)
    return _to(image, size, step)


def _to_multiple(image: np.ndarray, step: dict) -> np.ndarray:
    return _to(image, _multiple(image.shape[:2], step['divisor']), step)


def _center_crop(image: np.ndarray, step: dict) -> np.ndarray:
    height, width = (min(s) for s in zip(image.shape, step['size']))
    top = round((image.shape[0] - height) / 2)
    left = round((image.shape[1] - width) / 2)
    return image[top : top + height, left : left + width]


_STEPS = dict(
    resize=_resize,
    fit=_fit,
    edge=_edge,
    multiple=_to_multiple,
    center_crop=_center_crop,
)
