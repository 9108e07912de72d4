# Copyright (c) mmfft authors. All rights reserved.
import numpy as np
import pytest

from mmfft.errors import ConfigError
from mmfft.runtime.prediction import Prediction

NAMES = ('cat', 'dog')


def detected(labels, scores, **more):
    count = len(labels)
    return Prediction(
        'detection',
        (8, 6),
        NAMES,
        np.array(labels, dtype=int),
        np.array(scores, dtype=np.float32),
        np.arange(4.0 * count).reshape(count, 4),
        **more,
    )


def test_a_classification_names_the_most_likely():
    found = Prediction(
        'classification', (8, 6), ('a', 'b', 'c', 'd'),
        np.array([2, 0, 3, 1]), np.array([0.7, 0.2, 0.06, 0.04]),
    )  # fmt: skip
    assert found.describe() == 'class c (70.0 %), a (20.0 %), d (6.0 %)'
    assert found.above(0.5) is found


def test_a_detection_counts_what_is_above_the_threshold():
    masks = np.zeros((4, 8, 6), dtype=bool)
    masks[2] = True
    found = detected([1, 0, 1, 0], [0.9, 0.4, 0.5, 0.1], masks=masks)
    assert found.describe(0.3) == '3 found: cat, 2 × dog'
    assert found.describe(0.95) == 'nothing with a score of 0.95 or more'
    kept = found.above(0.5)
    assert kept.labels.tolist() == [1, 1]
    assert kept.boxes.tolist() == [[0, 1, 2, 3], [8, 9, 10, 11]]
    assert kept.masks.all((1, 2)).tolist() == [False, True]
    assert detected([0], [1]).above(0.5).masks is None


def test_a_segmentation_gives_shares_of_pixels():
    labels = np.array([[1, 1, 1], [0, 255, 1]])
    found = Prediction(
        'segmentation', (2, 3), NAMES, np.zeros(0), np.zeros(0),
        label_map=labels,
    )  # fmt: skip
    # 255 is no class.
    assert found.shares() == {1: 4 / 6, 0: 1 / 6}
    assert found.describe() == 'pixels: dog (66.7 %), cat (16.7 %)'


def test_a_label_without_a_name_is_a_number():
    found = detected([0, 7], [1, 1])
    assert found.describe() == '2 found: 7, cat'
    assert found.colour(7) == detected([], []).colour(7)


def test_colours_are_those_of_the_palette_or_differ():
    found = detected([], [], palette=((1, 2, 3), np.array([4, 5, 6])))
    assert [found.colour(i) for i in range(2)] == [(1, 2, 3), (4, 5, 6)]
    colours = np.array([detected([], []).colour(i) for i in range(24)], int)
    apart = np.abs(colours[:, None] - colours).sum(2)
    assert apart[np.triu_indices(24, 1)].min() > 30


def test_another_task():
    with pytest.raises(ConfigError, match="one of .*, got 'depth'"):
        Prediction('depth', (1, 1), (), np.zeros(0), np.zeros(0))
