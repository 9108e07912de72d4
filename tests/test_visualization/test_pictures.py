# Copyright (c) mmfft authors. All rights reserved.
import numpy as np

from mmfft.visualization.pictures import as_picture


def test_images_for_the_eye():
    values = np.arange(12).reshape(2, 2, 3)
    for dtype in (np.uint8, np.float32):
        shown = as_picture(values.astype(dtype), is_bgr=True)
        assert shown.dtype == np.uint8
        assert np.array_equal(shown, values[..., ::-1])
        shown = as_picture(values.astype(dtype), is_bgr=False)
        assert np.array_equal(shown, values)
    # Bands of 12 bits, each from dark to bright; the ends are cut off.
    ramp = np.linspace(0, 4000, 101)[:, None, None]
    bands = (ramp * [1, 0.5, 0.1, 9] + 50).astype(np.uint16)
    shown = as_picture(bands, is_bgr=False)
    assert shown.shape == (101, 1, 3)
    assert shown[2].max() <= 3 and shown[98].min() >= 250
    assert abs(shown[50].astype(int) - 127).max() <= 3
    # A grey one without contrast, and with holes.
    flat = as_picture(np.array([[7.5, np.nan]], np.float32), is_bgr=True)
    assert flat.shape == (1, 2, 3)
