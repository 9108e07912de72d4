# Copyright (c) mmfft authors. All rights reserved.
"""DigitScenes: real handwriting on real photographs, without a download.

The digits are the 1,797 of scikit-learn's ``load_digits``; the photographs
are those inside the wheels of scikit-image and scikit-learn. One generator
writes the files that the three toolboxes read::

    digit_scenes
    |-- meta.json                        arguments, sources, split, sha256
    |-- crops
    |   |-- train.json, val.json         the digit and the photo of each crop
    |   |-- train/{0..9}/00000.png       mmpretrain: a folder per class
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
source does not name the writers, so a writer may appear in both splits.)
"""

from .config import (
    BACKGROUND,
    CLASSES,
    NAME,
    PALETTE,
    SPLITS,
    VERSION,
    DigitScenesConfig,
)
from .paint import (
    DIGIT_SIZES,
    MAX_DIGITS,
    MIN_CONTRAST,
    MIN_VISIBLE,
    Canvas,
    background,
    draw_glyph,
    make_crop,
    make_scene,
    pick_colour,
)
from .sources import Source, split_digits
from .write import content_hash, make_digit_scenes
