# Copyright (c) mmfft authors. All rights reserved.
"""Painting of the pictures: backgrounds, digits, crops and scenes."""

import colorsys
import math

import numpy as np

from .config import SPLITS, DigitScenesConfig
from .sources import Source

DIGIT_SIZES = (36, 72)  # height of a digit in a scene, in pixels
CROP_FILL = (0.7, 0.95)  # longer side of a digit / side of the crop
MAX_DIGITS = 10
MAX_ANGLE = 15.0  # degrees; a larger one would turn a 6 into a 9
EMPTY_SCENES = 0.04
MIN_VISIBLE = 0.6  # share of a digit that the border or another digit leaves
MIN_CONTRAST = 100.0  # luminance, of 255, of a digit against its surroundings
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def _rng(
    config: DigitScenesConfig, kind: str, split: str, index: int
) -> np.random.Generator:
    """Make the random number generator of one picture.

    Since each picture has its own, it depends neither on the order nor on the
    process in which the others are made.
    """
    kinds = ('crop', 'scene', 'order', 'size')
    key = (config.seed, kinds.index(kind), SPLITS.index(split), index)
    return np.random.default_rng(np.random.SeedSequence(key))


def background(
    rng: np.random.Generator, photo: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """Cut a part out of a photograph, with random scale, flip and colours.

    Args:
        rng (np.random.Generator): Source of all random choices.
        photo (np.ndarray): RGB image.
        size (tuple[int, int]): Height and width of the part.

    Returns:
        np.ndarray: float32 RGB image of ``size`` in [0, 255].
    """
    from PIL import Image

    height, width = size
    fit = min(photo.shape[0] / height, photo.shape[1] / width)
    high = min(fit, 3.0)
    scale = rng.uniform(min(0.7, 0.7 * high), high)
    top = rng.uniform(0, photo.shape[0] - height * scale)
    left = rng.uniform(0, photo.shape[1] - width * scale)
    box = (left, top, left + width * scale, top + height * scale)
    part = Image.fromarray(photo).resize(
        (width, height), Image.Resampling.BILINEAR, box
    )
    part = np.asarray(part, dtype=np.float32)
    if rng.random() < 0.5:
        part = part[:, ::-1]
    # Lower contrast lets the digits stand out; a tint gives colours to the
    # grey photographs too.
    mean = part.mean()
    centre = np.clip(mean + rng.uniform(-25, 25), 40, 215)
    part = centre + rng.uniform(0.55, 0.9) * (part - mean)
    tint = rng.uniform(0.84, 1.16, size=3).astype(np.float32)
    return np.clip(part * tint, 0, 255).astype(np.float32)


def draw_glyph(
    rng: np.random.Generator, glyph: np.ndarray, height: float
) -> np.ndarray:
    """Draw an 8x8 digit smoothly, rotated and slanted slightly.

    Args:
        rng (np.random.Generator): Source of angle, slant and aspect ratio.
        glyph (np.ndarray): The digit, (8, 8) in [0, 1].
        height (float): Height of the upright digit in pixels.

    Returns:
        np.ndarray: Opacity in [0, 1], cropped to the digit's bounding box.
    """
    from scipy import ndimage

    cell = height / 8
    angle = math.radians(rng.uniform(-MAX_ANGLE, MAX_ANGLE))
    turn = np.array(
        [
            [math.cos(angle), -math.sin(angle)],
            [math.sin(angle), math.cos(angle)],
        ]
    )
    shape = np.array(
        [[1.0, 0.0], [rng.uniform(-0.1, 0.1), rng.uniform(0.9, 1.15)]]
    )
    # Pixel -> cell; the padding lets the spline fall to zero at the sides.
    pad = 2
    matrix = np.linalg.inv(turn @ shape) / cell
    side = math.ceil(height * 1.7)
    centre = np.full(2, (7 + 2 * pad) / 2)
    offset = centre - matrix @ np.full(2, (side - 1) / 2)
    cells = np.pad(glyph, pad).astype(np.float64)
    # Sharpen, so that the small holes of a 6 or an 8 stay open.
    cells += cells - ndimage.gaussian_filter(cells, 1)
    value = ndimage.affine_transform(
        cells,
        matrix,
        offset,
        output_shape=(side, side),
        order=3,
    )
    # The edge is about 1.5 pixels wide at any size.
    ramp = max(1.1 / cell, 0.1)
    alpha = np.clip((value - 0.5) / ramp + 0.5, 0, 1)
    alpha = alpha * alpha * (3 - 2 * alpha)
    (seen,) = ndimage.find_objects((alpha > 0.5).astype(int))
    return alpha[seen]


def pick_colour(
    rng: np.random.Generator, around: np.ndarray
) -> np.ndarray | None:
    """Choose a random colour that contrasts with the pixels around it.

    Args:
        rng (np.random.Generator): Source of hue, saturation and luminance.
        around (np.ndarray): Pixels (N, 3) that the digit will cover or
            touch.

    Returns:
        np.ndarray | None: RGB in [0, 255], whose luminance differs by
        ``MIN_CONTRAST`` from the mean and from the 10th and 90th percentile
        of those pixels; None if no luminance does.
    """
    luma = around @ _LUMA
    low, high = np.percentile(luma, (10, 90))
    dark = max(min(low, luma.mean()) - MIN_CONTRAST, 0)
    light = max(255 - max(high, luma.mean()) - MIN_CONTRAST, 0)
    if dark + light < 8:
        return None
    target = rng.uniform(0, dark + light)
    if target > dark:
        target = 255 - (target - dark)
    colour = 255 * np.array(
        colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.3, 1), 1)
    )
    # Move towards black or white until the luminance is the target.
    own = colour @ _LUMA
    if target <= own:
        return colour * (target / own)
    return colour + (255 - colour) * ((target - own) / (255 - own))


class Canvas:
    """A picture, and the digit that owns each of its pixels.

    Args:
        image (np.ndarray): RGB background of dtype float32.
    """

    def __init__(self, image: np.ndarray) -> None:
        self.image = image
        self.owner = np.zeros(image.shape[:2], dtype=np.uint8)
        # Pixels of each digit as drawn, before anything cut or covered it.
        self.areas: list[int] = []

    def visible(self, index: int) -> float:
        """Return the visible share of a digit; indices start at 0."""
        return (self.owner == index + 1).sum() / self.areas[index]

    def paint(
        self,
        rng: np.random.Generator,
        alpha: np.ndarray,
        top: int,
        left: int,
        visible: tuple[float, float] = (MIN_VISIBLE, 1.0),
    ) -> bool:
        """Paint a digit over the others, if it is legible there.

        Args:
            rng (np.random.Generator): Source of colour and shade.
            alpha (np.ndarray): Opacity of the digit.
            top (int): First row; may be outside the picture.
            left (int): First column; may be outside the picture.
            visible (tuple[float, float]): Lowest and highest share of the
                digit that may be inside the picture.

        Returns:
            bool: Whether the digit was painted. It is not if too little or
            too much of it would be visible, if it would hide too much of
            another digit, or if no colour stands out.
        """
        height, width = self.owner.shape
        y0, y1 = max(top, 0), min(top + alpha.shape[0], height)
        x0, x1 = max(left, 0), min(left + alpha.shape[1], width)
        if y0 >= y1 or x0 >= x1:
            return False
        area = int((alpha > 0.5).sum())
        alpha = alpha[y0 - top : y1 - top, x0 - left : x1 - left]
        mask = alpha > 0.5
        if not visible[0] * area <= mask.sum() <= visible[1] * area:
            return False

        owner = self.owner[y0:y1, x0:x1]
        # Digits may touch but not cross: only a small part of the new one may
        # cover others, and enough of each of them must stay visible.
        hidden = np.bincount(owner[mask], minlength=len(self.areas) + 1)[1:]
        if hidden.sum() > 0.1 * mask.sum():
            return False
        if any(
            self.visible(i) - hidden[i] / self.areas[i] < MIN_VISIBLE
            for i in np.flatnonzero(hidden)
        ):
            return False

        # The contrast is that to the digit's box with a margin.
        margin = 3
        patch = self.image[
            max(y0 - margin, 0) : y1 + margin,
            max(x0 - margin, 0) : x1 + margin,
        ]
        colour = pick_colour(rng, patch.reshape(-1, 3))
        if colour is None:
            return False

        # A slight gradient over the digit, as from light at one side.
        angle = rng.uniform(0, 2 * math.pi)
        rows, cols = np.mgrid[
            -1 : 1 : mask.shape[0] * 1j, -1 : 1 : mask.shape[1] * 1j
        ]
        shade = 6 * (math.cos(angle) * rows + math.sin(angle) * cols)
        ink = np.clip(colour + shade[..., None], 0, 255)
        region = self.image[y0:y1, x0:x1]
        region += (alpha[..., None] * (ink - region)).astype(np.float32)
        owner[mask] = len(self.areas) + 1
        self.areas.append(area)
        return True

    def box(self, index: int) -> list[int]:
        """Return the bounding box of the visible part of a digit.

        Args:
            index (int): Index of the digit; the first one painted is 0.

        Returns:
            list[int]: Left, top, width and height, as in COCO.
        """
        from scipy import ndimage

        rows, cols = ndimage.find_objects(self.owner)[index]
        return [
            cols.start,
            rows.start,
            cols.stop - cols.start,
            rows.stop - rows.start,
        ]

    def pixels(self) -> np.ndarray:
        """Return the picture as uint8."""
        return np.clip(np.rint(self.image), 0, 255).astype(np.uint8)


def make_crop(
    source: Source, config: DigitScenesConfig, split: str, index: int
) -> tuple[np.ndarray, dict]:
    """Paint a crop: one digit, sometimes with part of another beside it.

    Args:
        source (Source): Digits and photographs.
        config (DigitScenesConfig): Config with size and seed.
        split (str): 'train' or 'val'.
        index (int): Index of the crop in the split.

    Returns:
        tuple[np.ndarray, dict]: RGB image, and its label, digit, photo and
        box.
    """
    size = config.crop_size
    digits = source.digits[split]
    # All digits in turn, in a new order each time.
    turn, place = divmod(index, len(digits))
    digit = _rng(config, 'order', split, turn).permutation(digits)[place]
    rng = _rng(config, 'crop', split, index)
    while True:
        photo = rng.choice(sorted(source.photos[split]))
        canvas = Canvas(
            background(rng, source.photos[split][photo], (size, size))
        )
        if rng.random() < 0.1:
            _paint_distractor(rng, canvas, source.glyphs[rng.choice(digits)])
        wanted = size * rng.uniform(*CROP_FILL)
        alpha = draw_glyph(rng, source.glyphs[digit], wanted)
        # Rotation makes a digit longer; if it is now too long, start again.
        longer = max(alpha.shape)
        if longer > CROP_FILL[1] * size:
            continue
        top = rng.integers(0, size - alpha.shape[0] + 1)
        left = rng.integers(0, size - alpha.shape[1] + 1)
        if canvas.paint(rng, alpha, top, left, visible=(1.0, 1.0)):
            break
    return canvas.pixels(), dict(
        label=int(source.labels[digit]),
        digit_index=int(digit),
        photo=str(photo),
        bbox=canvas.box(len(canvas.areas) - 1),
    )


def _paint_distractor(
    rng: np.random.Generator, canvas: Canvas, glyph: np.ndarray
) -> None:
    """Paint part of another digit at one side of a crop."""
    size = canvas.owner.shape[0]
    alpha = draw_glyph(rng, glyph, size * rng.uniform(0.4, 0.7))
    height, width = alpha.shape
    along = rng.uniform(0, 1)
    beyond = rng.uniform(0.55, 0.85)  # share of the box outside the crop
    top, left = [
        (-beyond * height, along * size - width / 2),
        (size - (1 - beyond) * height, along * size - width / 2),
        (along * size - height / 2, -beyond * width),
        (along * size - height / 2, size - (1 - beyond) * width),
    ][rng.integers(4)]
    canvas.paint(rng, alpha, round(top), round(left), visible=(0.05, 0.4))


def _scene_size(
    config: DigitScenesConfig, split: str, index: int
) -> tuple[int, int]:
    """Choose the size of a scene: all in turn, in a new order each time.

    The generator is not that of the scene, so that a scene of one size looks
    the same whatever the other sizes are.
    """
    sizes = config.scene_sizes
    turn, place = divmod(index, len(sizes))
    return sizes[
        _rng(config, 'size', split, turn).permutation(len(sizes))[place]
    ]


def make_scene(
    source: Source, config: DigitScenesConfig, split: str, index: int
) -> tuple[np.ndarray, np.ndarray, dict]:
    """Paint a scene: up to ``MAX_DIGITS`` digits of various sizes, or none.

    Args:
        source (Source): Digits and photographs.
        config (DigitScenesConfig): Config with size and seed.
        split (str): 'train' or 'val'.
        index (int): Index of the scene in the split.

    Returns:
        tuple[np.ndarray, np.ndarray, dict]: RGB image; for each pixel 0, or
        1 + the position of the digit that owns it; photo and digits.
    """
    rng = _rng(config, 'scene', split, index)
    height, width = _scene_size(config, split, index)
    high = min(DIGIT_SIZES[1], 0.7 * min(height, width))
    photo = rng.choice(sorted(source.photos[split]))
    canvas = Canvas(
        background(rng, source.photos[split][photo], (height, width))
    )
    count = (
        0 if rng.random() < EMPTY_SCENES else rng.integers(1, MAX_DIGITS + 1)
    )
    digits: list[int] = []
    for _ in range(60 * count):
        if len(digits) == count:
            break
        digit = rng.choice(source.digits[split])
        # Uniform in the logarithm: as many digits of 36 to 51 pixels as of
        # 51 to 72.
        wanted = math.exp(
            rng.uniform(math.log(DIGIT_SIZES[0]), math.log(high))
        )
        alpha = draw_glyph(rng, source.glyphs[digit], wanted)
        spill = 0.3 if rng.random() < 0.3 else 0.0
        over_y, over_x = (int(spill * side) for side in alpha.shape)
        top = rng.integers(-over_y, height - alpha.shape[0] + over_y + 1)
        left = rng.integers(-over_x, width - alpha.shape[1] + over_x + 1)
        if canvas.paint(rng, alpha, top, left):
            digits.append(int(digit))
    return canvas.pixels(), canvas.owner, dict(photo=str(photo), digits=digits)
