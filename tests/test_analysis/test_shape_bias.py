# Copyright (c) mmfft authors. All rights reserved.
import numpy as np
import pytest
from PIL import Image

from mmfft.analysis.shape_bias import (
    ShapeBias,
    draw_shape_bias,
    read_decisions,
)
from mmfft.errors import ConfigError


def test_plot(tmp_path):
    biases = [
        ShapeBias(name, dict(cat=n, dog=n), dict(cat=4 - n, dog=4 - n), 8)
        for name, n in [('texture', 1), ('shape', 3)]
    ]
    draw_shape_bias(biases, tmp_path / 'plot.png')
    image = np.asarray(Image.open(tmp_path / 'plot.png').convert('RGB'))

    def columns(colour):
        """Where a vertical line of this colour stands."""
        near = abs(image.astype(int) - colour).sum(2) < 20
        return np.flatnonzero(near.sum(0) > 20)

    # matplotlib's first two colours, 70 % opaque on white.
    texture = columns((98, 160, 203)).mean()
    shape = columns((255, 165, 86)).mean()
    frame = columns((0, 0, 0))
    unit = (frame.max() - frame.min()) / 1.04
    assert shape - texture == pytest.approx(0.5 * unit, abs=3)


def test_other_files_are_refused(tmp_path):
    (tmp_path / 'a.csv').write_text('epoch,loss\n1,2\n')
    with pytest.raises(ConfigError, match='no decisions of ShapeBiasMetric'):
        read_decisions(tmp_path / 'a.csv')
    assert ShapeBias('m', dict(cat=0), dict(cat=0), 3).of() is None
