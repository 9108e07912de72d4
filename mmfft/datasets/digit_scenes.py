# Copyright (c) mmfft authors. All rights reserved.
"""DigitScenes: real handwriting on real photographs, without a download.

The digits are the 1,797 of scikit-learn's ``load_digits``; the photographs
are those inside the wheels of scikit-image and scikit-learn. One generator
writes what the three toolboxes read::

    digit_scenes
    |-- meta.json                        arguments, sources, split, sha256
    |-- crops
    |   |-- train.json, val.json         which digit and photo a crop shows
    |   |-- train/{0..9}/00000.png       mmpretrain: a folder a class
    |   `-- val/{0..9}/00000.png
    `-- scenes
        |-- images
        |   |-- training/000001.png      mmdet and mmseg: the same images
        |   `-- validation/000001.png
        `-- annotations
            |-- instances_training.json  mmdet: COCO boxes and masks
            |-- instances_validation.json
            |-- training/000001.png      mmseg: 0 background, 1..10 the digits
            `-- validation/000001.png

No digit and no photograph of the validation split appears in training. (The
writers are not told in the source, so both splits may share a hand.)
"""

import colorsys
import contextlib
import hashlib
import importlib
import importlib.metadata
import json
import math
import multiprocessing
import os
import shutil
import signal
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ..errors import ConfigError

NAME = 'DigitScenes'
# Raised whenever the same arguments would give another picture.
VERSION = '1.1'
CLASSES = tuple('0123456789')

SPLITS = ('train', 'val')
# The folder of a split's scenes is named as ADE20K names it.
SCENE_FOLDERS = dict(train='training', val='validation')

DIGIT_SIZES = (36, 72)  # height of a digit in a scene, in pixels
CROP_FILL = (0.7, 0.95)  # longer side of a digit / side of the crop
MAX_DIGITS = 10
MAX_ANGLE = 15.0  # degrees; a larger one would turn a 6 into a 9
EMPTY_SCENES = 0.04
MIN_VISIBLE = 0.6  # of a digit that the border or another digit cuts
MIN_CONTRAST = 100.0  # luminance, of 255, between a digit and what is around
VAL_DIGITS = 0.2

_CC0 = dict(
    name='CC0 1.0', url='https://creativecommons.org/publicdomain/zero/1.0/'
)
_CC_BY_2 = dict(
    name='CC BY 2.0', url='https://creativecommons.org/licenses/by/2.0/'
)
_CC_BY_4 = dict(
    name='CC BY 4.0', url='https://creativecommons.org/licenses/by/4.0/'
)
_PUBLIC_DOMAIN = dict(
    name='Public domain',
    url='https://creativecommons.org/publicdomain/mark/1.0/',
)

# Photographs whose licence the package's own documentation names. Left out:
# photographs without a named licence, and those that show text or numerals.
_PHOTOS = dict(
    train=dict(
        astronaut=('skimage', 'data/astronaut.png', 'NASA', _PUBLIC_DOMAIN),
        brick=('skimage', 'data/brick.png', 'CC0Textures', _CC0),
        camera=('skimage', 'data/camera.png', 'Lav Varshney', _CC0),
        chelsea=('skimage', 'data/chelsea.png', 'Stefan van der Walt', _CC0),
        china=(
            'sklearn',
            'datasets/images/china.jpg',
            'danielbuechele',
            _CC_BY_2,
        ),
        grass=('skimage', 'data/grass.png', 'linolafett', _CC0),
        hubble=(
            'skimage',
            'data/hubble_deep_field.jpg',
            'NASA',
            _PUBLIC_DOMAIN,
        ),
        retina=('skimage', 'data/retina.jpg', 'Mikael Haggstrom', _CC0),
    ),
    val=dict(
        coffee=('skimage', 'data/coffee.png', 'Rachel Michetti', _CC0),
        # The README of scikit-learn names danielbuechele here too, but the
        # photograph that it links is one of vultilion.
        flower=(
            'sklearn',
            'datasets/images/flower.jpg',
            'vultilion',
            _CC_BY_2,
        ),
        gravel=('skimage', 'data/gravel.png', 'CC0Textures', _CC0),
        rocket=('skimage', 'data/rocket.jpg', 'SpaceX', _PUBLIC_DOMAIN),
    ),
)
_LICENSES = (_CC0, _PUBLIC_DOMAIN, _CC_BY_2, _CC_BY_4)

_DISTRIBUTIONS = dict(
    PIL='pillow',
    pycocotools='pycocotools',
    rich='rich',
    scipy='scipy',
    skimage='scikit-image',
    sklearn='scikit-learn',
)
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def _require_int(name: str, value, minimum: int) -> None:
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, np.integer))
        or value < minimum
    ):
        raise ConfigError(
            f'{name}={value!r} is not right: it must be an integer of at '
            f'least {minimum}'
        )


@dataclass(frozen=True)
class DigitScenesConfig:
    """What decides the content of a DigitScenes data set.

    Args:
        train_scenes (int): Scenes to train on. Defaults to 900.
        val_scenes (int): Scenes to validate on. Defaults to 150.
        train_crops (int): Crops to train on. Defaults to 12000.
        val_crops (int): Crops to validate on. Defaults to 720.
        scene_size (tuple[int, int]): Height and width of a scene, at least
            64 pixels each. Defaults to (192, 256).
        crop_size (int): Side of a crop, at least 16. Defaults to 64.
        seed (int): Seed of everything but the split, which is fixed.
            Defaults to 0.

    Raises:
        ConfigError: If an argument cannot be used (a ValueError).
    """

    train_scenes: int = 900
    val_scenes: int = 150
    train_crops: int = 12000
    val_crops: int = 720
    scene_size: tuple[int, int] = (192, 256)
    crop_size: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        for name in (
            'train_scenes',
            'val_scenes',
            'train_crops',
            'val_crops',
            'seed',
        ):
            _require_int(name, getattr(self, name), 0)
        _require_int('crop_size', self.crop_size, 16)
        size = self.scene_size
        if not isinstance(size, (tuple, list)) or len(size) != 2:
            raise ConfigError(
                f'scene_size={size!r} is not right: it must be (height, '
                'width), two integers of at least 64'
            )
        for side, value in zip(('height', 'width'), size):
            _require_int(f'scene_size {side}', value, 64)
        # A tuple whatever came in: the manifest is compared with it.
        object.__setattr__(self, 'scene_size', tuple(int(s) for s in size))

    def as_json(self) -> dict:
        """The arguments as they stand in the manifest."""
        return dict(asdict(self), scene_size=list(self.scene_size))


# ------------------------------------------------------------- the sources


def _import(name: str):
    """Import an optional dependency, or say how to install it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = _DISTRIBUTIONS[name.partition('.')[0]]
        raise ImportError(
            f'{package} is needed to make {NAME} and cannot be imported '
            f'({error}): pip install "mmfft[demo]"'
        ) from error


@dataclass(frozen=True)
class Source:
    """Handwriting and photographs, each split between train and val.

    Args:
        glyphs (np.ndarray): Digits, (N, 8, 8) in [0, 1].
        labels (np.ndarray): What the digits are, (N, ).
        digits (dict): Split to the indices of its digits.
        photos (dict): Split to {name: RGB image}.
        files (dict): Name of a photo to the sha256 of its file.
    """

    glyphs: np.ndarray
    labels: np.ndarray
    digits: dict[str, np.ndarray]
    photos: dict[str, dict[str, np.ndarray]]
    files: dict[str, str]

    @classmethod
    def load(cls) -> 'Source':
        """Read digits and photographs out of the installed packages."""
        for name in _DISTRIBUTIONS:
            _import(name)
        image_module = _import('PIL.Image')
        data = _import('sklearn.datasets').load_digits()
        photos, files = {}, {}
        for split in SPLITS:
            photos[split] = {}
            for name, (package, path, *_) in _PHOTOS[split].items():
                # Not through ``skimage.data``, which would download a file
                # that another version of the wheel leaves out.
                module = importlib.import_module(package)
                file = Path(module.__file__).parent / path
                if not file.is_file():
                    raise FileNotFoundError(
                        f'{_DISTRIBUTIONS[package]} {module.__version__} '
                        f'does not carry {path}, which {NAME} needs; it was '
                        'made with scikit-image 0.26 and scikit-learn 1.9'
                    )
                files[name] = hashlib.sha256(file.read_bytes()).hexdigest()
                with image_module.open(file) as image:
                    photos[split][name] = np.asarray(image.convert('RGB'))
        labels = data.target.astype(np.int64)
        return cls(
            glyphs=(data.images / 16).astype(np.float32),
            labels=labels,
            digits=split_digits(labels),
            photos=photos,
            files=files,
        )


def split_digits(labels: np.ndarray) -> dict[str, np.ndarray]:
    """Split digits between train and val, with the same share of a class.

    The split is fixed: no argument, the seed included, moves a digit from
    one side to the other, so that results of other seeds stay comparable.
    """
    rng = np.random.default_rng(20240229)
    val = np.zeros(len(labels), dtype=bool)
    for label in range(len(CLASSES)):
        members = rng.permutation(np.flatnonzero(labels == label))
        val[members[: round(VAL_DIGITS * len(members))]] = True
    return dict(train=np.flatnonzero(~val), val=np.flatnonzero(val))


def _rng(
    config: DigitScenesConfig, kind: str, split: str, index: int
) -> np.random.Generator:
    """A generator of its own for each picture.

    A picture then depends neither on the order nor on the process in which
    the others were made.
    """
    kinds = ('crop', 'scene', 'order')
    key = (config.seed, kinds.index(kind), SPLITS.index(split), index)
    return np.random.default_rng(np.random.SeedSequence(key))


# ------------------------------------------------------------- the painting


def background(
    rng: np.random.Generator, photo: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """A part of a photograph at a random place, scale, flip and colour.

    Args:
        rng (np.random.Generator): Decides all of that.
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
    # Less contrast leaves room for the digits; a tint gives the grey
    # photographs colours too.
    mean = part.mean()
    centre = np.clip(mean + rng.uniform(-25, 25), 40, 215)
    part = centre + rng.uniform(0.55, 0.9) * (part - mean)
    tint = rng.uniform(0.84, 1.16, size=3).astype(np.float32)
    return np.clip(part * tint, 0, 255).astype(np.float32)


def draw_glyph(
    rng: np.random.Generator, glyph: np.ndarray, height: float
) -> np.ndarray:
    """Draw one 8x8 digit smoothly, turned and slanted a little.

    Args:
        rng (np.random.Generator): Decides angle, slant and proportion.
        glyph (np.ndarray): The digit, (8, 8) in [0, 1].
        height (float): Height of the upright digit in pixels.

    Returns:
        np.ndarray: Opacity in [0, 1], cut to the digit's bounding box.
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
    # Sharpened, so that the small holes of a 6 or an 8 stay open.
    cells += cells - ndimage.gaussian_filter(cells, 1)
    value = ndimage.affine_transform(
        cells,
        matrix,
        offset,
        output_shape=(side, side),
        order=3,
    )
    # The ramp around the threshold is about 1.5 pixels wide at any size.
    ramp = max(1.1 / cell, 0.1)
    alpha = np.clip((value - 0.5) / ramp + 0.5, 0, 1)
    alpha = alpha * alpha * (3 - 2 * alpha)
    rows = np.flatnonzero((alpha > 0.5).any(axis=1))
    cols = np.flatnonzero((alpha > 0.5).any(axis=0))
    return alpha[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]


def pick_colour(
    rng: np.random.Generator, around: np.ndarray
) -> np.ndarray | None:
    """A random colour that stands out from nearly all pixels around.

    Args:
        rng (np.random.Generator): Decides hue, saturation and luminance.
        around (np.ndarray): Pixels (N, 3) that the digit will cover or
            touch.

    Returns:
        np.ndarray | None: RGB in [0, 255], its luminance ``MIN_CONTRAST``
        away from the mean and from the 10th and 90th percentile of those
        pixels; None where no luminance is.
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
    # Towards black or white until the luminance is the one wanted.
    own = colour @ _LUMA
    if target <= own:
        return colour * (target / own)
    return colour + (255 - colour) * ((target - own) / (255 - own))


class Canvas:
    """A picture, and which of the digits painted on it owns each pixel.

    Args:
        image (np.ndarray): float32 RGB background.
    """

    def __init__(self, image: np.ndarray) -> None:
        self.image = image
        self.owner = np.zeros(image.shape[:2], dtype=np.uint8)
        self.areas: list[int] = []  # of the whole digits, uncut

    def visible(self, index: int) -> float:
        """The visible share of a digit, counted from 0."""
        return (self.owner == index + 1).sum() / self.areas[index]

    def paint(
        self,
        rng: np.random.Generator,
        alpha: np.ndarray,
        top: int,
        left: int,
        visible: tuple[float, float] = (MIN_VISIBLE, 1.0),
    ) -> bool:
        """Paint a digit over the others, where it stays legible.

        Args:
            rng (np.random.Generator): Decides the colour.
            alpha (np.ndarray): Opacity of the digit.
            top (int): First row; may be outside.
            left (int): First column; may be outside.
            visible (tuple[float, float]): What share of the digit the
                border may leave.

        Returns:
            bool: False, and nothing painted, where too little or too much
            of it would be seen, where it would hide too much of another
            digit, or where no colour stands out.
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
        # Touching is fine, crossing is not: little of the new one may lie
        # on others, and enough of each other one must stay.
        if (owner[mask] > 0).sum() > 0.1 * mask.sum():
            return False
        for index in np.unique(owner[mask]):
            hidden = (owner[mask] == index).sum()
            if (
                index
                and (self.visible(index - 1) - hidden / self.areas[index - 1])
                < MIN_VISIBLE
            ):
                return False

        # The contrast counts in the digit's box with a margin around it.
        margin = 3
        patch = self.image[
            max(y0 - margin, 0) : y1 + margin,
            max(x0 - margin, 0) : x1 + margin,
        ]
        colour = pick_colour(rng, patch.reshape(-1, 3))
        if colour is None:
            return False

        # A slight shade over the digit, as light would give it.
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

    def pixels(self) -> np.ndarray:
        """The picture as uint8."""
        return np.clip(np.rint(self.image), 0, 255).astype(np.uint8)


def make_crop(
    source: Source, config: DigitScenesConfig, split: str, index: int
) -> tuple[np.ndarray, dict]:
    """Paint a crop: one digit, sometimes with a part of another beside it.

    Args:
        source (Source): Digits and photographs.
        config (DigitScenesConfig): Size and seed.
        split (str): 'train' or 'val'.
        index (int): Which crop of the split.

    Returns:
        tuple[np.ndarray, dict]: RGB image; label, digit, photo and box.
    """
    size = config.crop_size
    digits = source.digits[split]
    # Round after round through all digits, each round in another order.
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
        # Turning makes a digit longer: once more at the length wanted.
        longer = max(alpha.shape)
        if longer > CROP_FILL[1] * size:
            continue
        top = rng.integers(0, size - alpha.shape[0] + 1)
        left = rng.integers(0, size - alpha.shape[1] + 1)
        if canvas.paint(rng, alpha, top, left, visible=(1.0, 1.0)):
            break
    box = _box(canvas.owner == len(canvas.areas))
    return canvas.pixels(), dict(
        label=int(source.labels[digit]),
        digit_index=int(digit),
        photo=str(photo),
        bbox=box,
    )


def _paint_distractor(
    rng: np.random.Generator, canvas: Canvas, glyph: np.ndarray
) -> None:
    """Let a part of another digit look in at one side of a crop."""
    size = canvas.owner.shape[0]
    alpha = draw_glyph(rng, glyph, size * rng.uniform(0.4, 0.7))
    height, width = alpha.shape
    along = rng.uniform(0, 1)
    beyond = rng.uniform(0.55, 0.85)  # share of its box outside the crop
    top, left = [
        (-beyond * height, along * size - width / 2),
        (size - (1 - beyond) * height, along * size - width / 2),
        (along * size - height / 2, -beyond * width),
        (along * size - height / 2, size - (1 - beyond) * width),
    ][rng.integers(4)]
    canvas.paint(rng, alpha, round(top), round(left), visible=(0.05, 0.4))


def make_scene(
    source: Source, config: DigitScenesConfig, split: str, index: int
) -> tuple[np.ndarray, np.ndarray, dict]:
    """Paint a scene: up to ``MAX_DIGITS`` of many sizes, or none.

    Args:
        source (Source): Digits and photographs.
        config (DigitScenesConfig): Size and seed.
        split (str): 'train' or 'val'.
        index (int): Which scene of the split.

    Returns:
        tuple[np.ndarray, np.ndarray, dict]: RGB image; for each pixel 0 or
        1 + the place of the digit that owns it; photo and digits.
    """
    rng = _rng(config, 'scene', split, index)
    height, width = config.scene_size
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
        # As many digits of 36 to 51 pixels as of 51 to 72.
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


def _box(mask: np.ndarray) -> list[int]:
    """The box of a mask as COCO writes it: left, top, width, height."""
    rows = np.flatnonzero(mask.any(axis=1))
    cols = np.flatnonzero(mask.any(axis=0))
    return [
        int(cols[0]),
        int(rows[0]),
        int(cols[-1] - cols[0] + 1),
        int(rows[-1] - rows[0] + 1),
    ]


# -------------------------------------------------------------- the writing

_JOB: tuple = ()  # source, config and folder, set once in each worker


def _start_worker(*job) -> None:
    global _JOB
    _JOB = job
    # Ctrl-C is the parent's to handle; it stops the workers.
    if multiprocessing.parent_process() is not None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _save(array: np.ndarray, path: Path) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    # Twice as fast as the usual level 6, files 5 % larger.
    Image.fromarray(array).save(path, format='PNG', compress_level=3)


def _write_item(item: tuple[str, str, int]) -> dict:
    """Make and write one picture; return what the annotations say of it."""
    kind, split, index = item
    source, config, root = _JOB
    if kind == 'crop':
        image, record = make_crop(source, config, split, index)
        name = f'{CLASSES[record["label"]]}/{index:05d}.png'
        _save(image, root / 'crops' / split / name)
        return dict(file_name=name, **record)

    image, owner, record = make_scene(source, config, split, index)
    name = f'{index + 1:06d}.png'
    folder = SCENE_FOLDERS[split]
    labels = source.labels[record['digits']]
    lookup = np.zeros(len(labels) + 1, dtype=np.uint8)
    lookup[1:] = labels + 1
    _save(image, root / 'scenes' / 'images' / folder / name)
    _save(lookup[owner], root / 'scenes' / 'annotations' / folder / name)
    annotations = [
        _annotation(owner == place + 1, int(label), digit)
        for place, (label, digit) in enumerate(zip(labels, record['digits']))
    ]
    return dict(file_name=name, photo=record['photo'], annotations=annotations)


def _annotation(mask: np.ndarray, label: int, digit: int) -> dict:
    """A digit of a scene in the terms of COCO."""
    from pycocotools import mask as coco_mask

    rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return dict(
        category_id=label + 1,
        bbox=_box(mask),
        area=int(mask.sum()),
        iscrowd=0,
        segmentation=dict(
            size=list(mask.shape), counts=rle['counts'].decode('ascii')
        ),
        digit_index=digit,
    )


def _run(items: list, job: tuple, workers: int) -> Iterator[dict]:
    """Yield the records of the items in order, made by some processes."""
    # A process costs a second to start; it is not worth it for a few items.
    workers = min(workers, 1 + len(items) // 128)
    if workers == 1:
        _start_worker(*job)
        yield from map(_write_item, items)
        return
    # Spawned, since forking is not safe beside the threads of torch or rich.
    pool = ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context('spawn'),
        initializer=_start_worker,
        initargs=job,
    )
    try:
        yield from pool.map(_write_item, items, chunksize=16)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _coco(records: list[dict], config: DigitScenesConfig, split: str) -> dict:
    """The COCO file of a split from the records of its scenes."""
    height, width = config.scene_size
    images, annotations = [], []
    for image_id, record in enumerate(records, 1):
        licence = _LICENSES.index(_PHOTOS[split][record['photo']][3]) + 1
        images.append(
            dict(
                id=image_id,
                file_name=record['file_name'],
                height=height,
                width=width,
                license=licence,
                photo=record['photo'],
            )
        )
        for annotation in record['annotations']:
            annotations.append(
                dict(id=len(annotations) + 1, image_id=image_id) | annotation
            )
    return dict(
        info=dict(
            description=f'{NAME}, {SCENE_FOLDERS[split]} split',
            version=VERSION,
            contributor='mmfft',
        ),
        licenses=[
            dict(id=i, **licence) for i, licence in enumerate(_LICENSES, 1)
        ],
        categories=[
            dict(id=i, name=name, supercategory='digit')
            for i, name in enumerate(CLASSES, 1)
        ],
        images=images,
        annotations=annotations,
    )


def _write_json(content, path: Path, indent: int | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=indent) + '\n', 'utf-8')


def _files(root: Path) -> list[Path]:
    """All files of a data set but the manifest, in a fixed order."""
    return sorted(
        Path(folder, name).relative_to(root)
        for folder, _, names in os.walk(root)
        for name in names
        if Path(folder, name) != root / 'meta.json'
    )


def content_hash(root) -> str:
    """The sha256 over names and content of all files but the manifest.

    Args:
        root (str | Path): Folder of a data set.

    Returns:
        str: What ``meta.json`` holds as ``sha256`` if nothing was changed.
    """
    root = Path(root)
    total = hashlib.sha256()
    for path in _files(root):
        content = hashlib.sha256((root / path).read_bytes()).hexdigest()
        total.update(f'{content}  {path.as_posix()}\n'.encode())
    return total.hexdigest()


def _sources(source: Source) -> dict:
    photos = {}
    for split in SPLITS:
        for name, (package, path, author, licence) in _PHOTOS[split].items():
            photos[name] = dict(
                split=split,
                package=_DISTRIBUTIONS[package],
                file=f'{package}/{path}',
                author=author,
                license=licence['name'],
                sha256=source.files[name],
            )
    return dict(
        digits=dict(
            package='scikit-learn',
            loader='sklearn.datasets.load_digits',
            author='E. Alpaydin, C. Kaynak',
            title='Optical Recognition of Handwritten Digits (UCI)',
            # Named by the UCI repository; scikit-learn's text has none.
            url='https://archive.ics.uci.edu/dataset/80',
            license=_CC_BY_4['name'],
        ),
        photos=photos,
    )


def _build(
    root: Path, config: DigitScenesConfig, workers: int, progress: bool
) -> dict:
    """Write a whole data set into an empty folder; return its manifest."""
    from rich.progress import track

    source = Source.load()
    counts = {
        ('crop', 'train'): config.train_crops,
        ('crop', 'val'): config.val_crops,
        ('scene', 'train'): config.train_scenes,
        ('scene', 'val'): config.val_scenes,
    }
    items = [
        (kind, split, index)
        for (kind, split), count in counts.items()
        for index in range(count)
    ]
    records: dict[tuple, list] = {key: [] for key in counts}
    # Closed before anyone removes the folder that the workers write into.
    with contextlib.closing(
        _run(items, (source, config, root), workers)
    ) as results:
        shown = track(
            results, description=NAME, total=len(items), disable=not progress
        )
        for (kind, split, _), record in zip(items, shown):
            records[kind, split].append(record)

    found: dict[str, dict] = {}
    for split in SPLITS:
        crops, scenes = records['crop', split], records['scene', split]
        folder = SCENE_FOLDERS[split]
        _write_json(crops, root / 'crops' / f'{split}.json')
        _write_json(
            _coco(scenes, config, split),
            root / 'scenes' / 'annotations' / f'instances_{folder}.json',
        )
        # Folders that no picture needed are there all the same.
        for label in CLASSES:
            (root / 'crops' / split / label).mkdir(parents=True, exist_ok=True)
        for part in ('images', 'annotations'):
            (root / 'scenes' / part / folder).mkdir(
                parents=True, exist_ok=True
            )
        annotations = [a for s in scenes for a in s['annotations']]
        per_class = Counter(a['category_id'] for a in annotations)
        found[split] = dict(
            crops=len(crops),
            scenes=len(scenes),
            empty_scenes=sum(not s['annotations'] for s in scenes),
            instances=len(annotations),
            instances_per_class=[
                per_class[i] for i in range(1, len(CLASSES) + 1)
            ],
        )
    manifest = dict(
        name=NAME,
        version=VERSION,
        config=config.as_json(),
        counts=found,
        classes=list(CLASSES),
        files=len(_files(root)),
        sha256=content_hash(root),
        # The pictures may differ by a rounding between versions of these.
        packages=dict(
            numpy=np.__version__,
            **{
                package: importlib.metadata.version(package)
                for package in _DISTRIBUTIONS.values()
            },
        ),
        sources=_sources(source),
        split={
            split: dict(
                photos=sorted(source.photos[split]),
                digits=source.digits[split].tolist(),
            )
            for split in SPLITS
        },
    )
    # Last, so that a folder with a manifest is a whole data set.
    _write_json(manifest, root / 'meta.json', indent=2)
    return manifest


def _existing(
    out_dir: Path, config: DigitScenesConfig, overwrite: bool
) -> dict | None:
    """What stands at the place: the same data set, or none that matters.

    Raises:
        FileExistsError: If something stands there that must not go.
    """
    if not out_dir.exists():
        return None
    if not out_dir.is_dir():
        raise FileExistsError(
            f'{out_dir} is not a folder: give another out_dir'
        )
    entries = {entry.name for entry in os.scandir(out_dir)}
    if not entries:
        return None
    try:
        manifest = json.loads((out_dir / 'meta.json').read_text('utf-8'))
        ours = manifest['name'] == NAME and entries <= {
            'meta.json',
            'crops',
            'scenes',
        }
    except (OSError, ValueError, KeyError, TypeError):
        ours = False
    if not ours:
        raise FileExistsError(
            f'{out_dir} holds something else than a {NAME} data set and is '
            'left alone: give another out_dir'
        )
    if overwrite:
        return None
    if (manifest.get('version'), manifest.get('config')) != (
        VERSION,
        config.as_json(),
    ):
        raise FileExistsError(
            f'{out_dir} holds a {NAME} data set of version '
            f'{manifest.get("version")} made with {manifest.get("config")}; '
            f'wanted is version {VERSION} with {config.as_json()}: give '
            'another out_dir or overwrite it'
        )
    count = len(_files(out_dir))
    if count != manifest.get('files'):
        raise FileExistsError(
            f'{out_dir} holds {count} files where its manifest names '
            f'{manifest.get("files")}: give another out_dir or overwrite it'
        )
    return manifest


def make_digit_scenes(
    out_dir,
    config: DigitScenesConfig | None = None,
    workers: int | None = None,
    progress: bool = True,
    overwrite: bool = False,
) -> dict:
    """Make the DigitScenes data set, unless it is there already.

    The files are built in a hidden folder beside ``out_dir`` that takes its
    name at the end, so nothing half made ever stands there. The same
    arguments give the same bytes, whatever ``workers`` is.

    With more than one worker the calling script needs the usual
    ``if __name__ == '__main__':``, since the processes are spawned.

    Args:
        out_dir (str | Path): Folder of the data set.
        config (DigitScenesConfig, optional): What to make. Defaults to
            ``DigitScenesConfig()``.
        workers (int, optional): Processes that paint. Defaults to the
            number of CPUs.
        progress (bool): Whether to show a progress bar. Defaults to True.
        overwrite (bool): Whether a DigitScenes data set that stands at
            ``out_dir`` is replaced. A folder with anything else in it never
            is. Defaults to False.

    Returns:
        dict: The manifest (``meta.json``), and as ``created`` whether the
        data set was made now.

    Raises:
        FileExistsError: If something else stands at ``out_dir``.
        ImportError: If a package of ``mmfft[demo]`` is missing.
        ConfigError: If an argument cannot be used (a ValueError).
    """
    config = config or DigitScenesConfig()
    workers = (os.cpu_count() or 1) if workers is None else workers
    _require_int('workers', workers, 1)
    # The place that a link points to is filled, not the link replaced.
    out_dir = Path(out_dir).expanduser().resolve()
    manifest = _existing(out_dir, config, overwrite)
    if manifest is not None:
        return dict(manifest, created=False)

    for name in _DISTRIBUTIONS:
        _import(name)
    stamp = uuid.uuid4().hex[:8]
    new = out_dir.with_name(f'.{out_dir.name}.{stamp}.new')
    old = out_dir.with_name(f'.{out_dir.name}.{stamp}.old')
    new.mkdir(parents=True)
    try:
        manifest = _build(new, config, workers, progress)
        # Once more: another process may have been there meanwhile.
        faster = _existing(out_dir, config, overwrite)
        if faster is not None:
            return dict(faster, created=False)
        if out_dir.exists():
            out_dir.rename(old)
        try:
            new.rename(out_dir)
        except OSError:
            if old.exists():
                old.rename(out_dir)
            raise
    finally:
        shutil.rmtree(new, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
    return dict(manifest, created=True)
