# Copyright (c) mmfft authors. All rights reserved.
import cv2
import mmcv
import numpy as np
import pytest
from PIL import Image

from mmfft.errors import ConfigError
from mmfft.runtime.reading import read_image

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (9, 14), dtype=np.uint8)
COLOURS = RNG.integers(0, 256, (9, 14, 3), dtype=np.uint8)
ALPHA = RNG.integers(0, 256, (9, 14, 4), dtype=np.uint8)


def upside_down(path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned
    Image.fromarray(COLOURS).save(path, exif=exif, quality=100)


FILES = {
    'grey.png': lambda path: Image.fromarray(GREY).save(path),
    'black-and-white.png': lambda path: Image.fromarray(GREY > 99).save(path),
    'grey-alpha.png': lambda path: Image.fromarray(ALPHA[..., :2], 'LA').save(
        path
    ),
    'rgba.png': lambda path: Image.fromarray(ALPHA).save(path),
    'palette.png': lambda path: (
        Image.fromarray(COLOURS).quantize(9).save(path, transparency=2)
    ),
    'grey-16.png': lambda path: cv2.imwrite(
        str(path), GREY.astype(np.uint16) * 257 - 100
    ),
    'colours-16.png': lambda path: cv2.imwrite(
        str(path), COLOURS.astype(np.uint16) * 257 - 100
    ),
    'photo.jpg': lambda path: Image.fromarray(COLOURS).save(path),
    'turned.jpg': upside_down,
    'photo.bmp': lambda path: Image.fromarray(COLOURS).save(path),
}


@pytest.mark.parametrize('name', FILES)
def test_files_are_read_as_mmcv_reads_them(name, tmp_path):
    FILES[name](tmp_path / name)
    expected = mmcv.imread(str(tmp_path / name))[..., ::-1]
    ours = read_image(tmp_path / name)
    assert ours.dtype == np.uint8
    np.testing.assert_array_equal(ours, expected)


def test_what_cannot_be_read_is_said(tmp_path):
    with pytest.raises(ConfigError, match="gone.png' does not exist"):
        read_image(tmp_path / 'gone.png')
    (tmp_path / 'text.png').write_text('text')
    with pytest.raises(ConfigError, match='not an image that can be read'):
        read_image(tmp_path / 'text.png')
    Image.fromarray(ALPHA, 'CMYK').save(tmp_path / 'print.jpg')
    with pytest.raises(ConfigError, match="of the kind 'CMYK'"):
        read_image(tmp_path / 'print.jpg')
