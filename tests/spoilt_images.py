# Copyright (c) mmfft authors. All rights reserved.
"""Unusual and broken image files, as in data sets that nobody checked."""

import io

import numpy as np
from PIL import Image

ORIENTATION = 0x112


def picture(width, height):
    """Make a smooth picture, whose JPEG is similar to that of a photograph."""
    y, x = np.mgrid[:height, :width]
    colours = (x % 256, y % 256, (x + y) % 256)
    return Image.fromarray(np.stack(colours, -1).astype(np.uint8))


def encoded(image, kind='JPEG', **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _rotated(width, height):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    # Stored on its side, to be displayed upright.
    return encoded(picture(height, width), exif=exif)


def _deep(width, height):
    values = np.linspace(0, 65535, width * height).reshape(height, width)
    return encoded(Image.fromarray(values.astype(np.uint16)), 'PNG')


# Functions from the displayed width and height to the bytes of a file.
USABLE = {
    'cmyk': lambda w, h: encoded(picture(w, h).convert('CMYK')),
    'grey': lambda w, h: encoded(picture(w, h).convert('L')),
    '16-bit': _deep,
    'exif': _rotated,
    'palette': lambda w, h: encoded(picture(w, h).convert('P'), 'PNG'),
    'alpha': lambda w, h: encoded(picture(w, h).convert('RGBA'), 'PNG'),
}
UNUSABLE = {
    'truncated': lambda w, h: encoded(picture(w, h))[:-200],
    'truncated-png': lambda w, h: encoded(picture(w, h), 'PNG')[:-30],
    'progressive': lambda w, h: encoded(picture(w, h), progressive=True)[:-9],
    'empty': lambda w, h: b'',
    'text': lambda w, h: b'404: not found',
    'missing': None,
}
BAD_OR_NOT = {**USABLE, **UNUSABLE}


def write(path, kind, width, height):
    make = BAD_OR_NOT[kind]
    path.unlink()
    if make is not None:
        path.write_bytes(make(width, height))
