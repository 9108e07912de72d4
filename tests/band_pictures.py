# Copyright (c) mmfft authors. All rights reserved.
"""Pictures of many bands, whose classes are seen only in some of them.

``python tests/band_pictures.py data/bands`` writes 60 and 20 TIFFs of 8 bands
with their label images, as ``configs/custom/seg_8-bands.py`` reads them.
"""

import sys
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

CLASSES = ('background', 'wet', 'dry')
SHIFT = 900.0


def make(rng, size, bands):
    """A picture, uint16 ``(H, W, bands)``, and its labels, uint8 ``(H, W)``.

    Bands 1 to 4 show smooth noise and discs that mean nothing. Discs of two
    classes brighten or darken the bands from 5 on.
    """
    height, width = size
    y, x = np.mgrid[:height, :width]
    coarse = rng.normal(0, 1, (height // 16, width // 16, bands))
    picture = 3000 + 600 * coarse.repeat(16, 0).repeat(16, 1)
    labels = np.zeros(size, np.uint8)
    for disc in range(9):
        radius = rng.uniform(0.08, 0.2) * min(size)
        centre = rng.uniform(0, 1, 2) * size
        inside = np.hypot(y - centre[0], x - centre[1]) < radius
        label = disc % 3
        if label == 0:
            picture[inside, :4] += SHIFT
        else:
            labels[inside] = label
    for label, sign in ((1, 1), (2, -1)):
        picture[labels == label, 4:] += sign * SHIFT
    picture += rng.normal(0, 600, picture.shape)
    return picture.clip(0, 65535).astype(np.uint16), labels


def write(folder, counts=dict(train=60, val=20), size=(128, 160), bands=8):
    rng = np.random.default_rng(0)
    for split, count in counts.items():
        pictures = Path(folder, 'img_dir', split)
        annotations = Path(folder, 'ann_dir', split)
        pictures.mkdir(parents=True)
        annotations.mkdir(parents=True)
        for index in range(count):
            picture, labels = make(rng, size, bands)
            tifffile.imwrite(
                pictures / f'{index:03}.tif',
                picture,
                photometric='minisblack',
                planarconfig='contig',
            )
            Image.fromarray(labels).save(annotations / f'{index:03}.png')
    Path(folder, 'classes.txt').write_text('\n'.join(CLASSES) + '\n')


if __name__ == '__main__':
    write(sys.argv[1])
