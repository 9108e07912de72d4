# Copyright (c) mmfft authors. All rights reserved.
import numpy as np
import pytest

from mmfft.runtime.drawing import LEGIBLE_SIDE, draw
from mmfft.runtime.prediction import Prediction

RED, GREEN = (230, 20, 30), (10, 200, 60)
SIDE = LEGIBLE_SIDE + 12


def grey(height=SIDE, width=SIDE):
    return np.full((height, width, 3), 128, dtype=np.uint8)


def objects(boxes, scores, labels=None, **more):
    labels = [0] * len(boxes) if labels is None else labels
    return Prediction(
        'detection', (SIDE, SIDE), ('a', 'b'), np.array(labels, dtype=int),
        np.array(scores, dtype=np.float32),
        np.array(boxes, dtype=np.float32).reshape(-1, 4),
        palette=(RED, GREEN), **more,
    )  # fmt: skip


def pixels(picture, colour):
    return (picture == colour).all(2)


def test_boxes_from_the_threshold_up():
    image = grey()
    found = objects(
        [[50, 60, 150, 160], [200, 200, 250, 250]], [0.9, 0.2], [0, 1]
    )
    picture = draw(image, found)
    assert picture.shape == image.shape and picture.dtype == np.uint8
    assert (image == 128).all()
    drawn = pixels(picture, RED)
    for corner in ((60, 50), (160, 50), (60, 150), (160, 150)):
        assert drawn[corner]
    assert not drawn[70:150, 60:140].any()
    # The name is above the box.
    assert drawn[:60].sum() > 100
    assert not pixels(picture, GREEN).any()
    assert pixels(draw(image, found, 0.1), GREEN).any()
    assert np.array_equal(draw(image, objects([], [])), image)


def test_the_surest_object_is_on_top():
    same = [[50, 60, 150, 160]] * 2
    first = draw(grey(), objects(same, [0.9, 0.8], [0, 1]))
    assert pixels(first, RED)[60:160, 50].all()
    last = draw(grey(), objects(same, [0.8, 0.9], [0, 1]))
    assert pixels(last, GREEN)[60:160, 50].all()


def test_names_do_not_cover_each_other():
    found = objects([[50, 60, 150, 160]] * 3, [0.9, 0.8, 0.7], [0, 1, 0])
    picture = draw(grey(), found)
    one = draw(grey(), objects([[50, 60, 150, 160]], [0.9]))
    name = pixels(one, RED)[:60].sum()
    assert pixels(picture, RED)[:60, :100].sum() == name
    below = pixels(picture, GREEN)[161:]
    assert below.sum() > 0.8 * name


@pytest.mark.parametrize(
    'box',
    [(-30, -40, 20, 20), (0, 0, SIDE, SIDE), (290, 290, 400, 350),
     (-9, -9, -5, -5), (100, 100, 100, 100)],
)  # fmt: skip
def test_boxes_across_the_border(box):
    picture = draw(grey(), objects([box], [0.5]))
    # The name is in the picture, whole.
    assert pixels(picture, RED).sum() > 200


def test_masks_are_translucent_and_have_an_edge():
    mask = np.zeros((1, SIDE, SIDE), dtype=bool)
    mask[0, 70:150, 60:140] = True
    found = objects([[50, 60, 150, 160]], [0.9], masks=mask)
    picture = draw(grey(), found)
    inside = picture[100, 100].astype(int)
    assert 128 < inside[0] < RED[0] and RED[1] < inside[1] < 128
    assert (picture[100, 60:62] == RED).any()
    assert (picture[100, 56] == 128).all()
    nothing = objects([[50, 60, 150, 160]], [0.9], masks=mask & False)
    plain = draw(grey(), objects([[50, 60, 150, 160]], [0.9]))
    assert np.array_equal(draw(grey(), nothing), plain)


def test_segmentations_have_colours_and_a_list():
    labels = np.zeros((SIDE, SIDE), dtype=np.int64)
    labels[:, SIDE // 2 :] = 1
    labels[:40, :40] = 255
    found = Prediction(
        'segmentation', labels.shape, ('a', 'b'), np.zeros(0), np.zeros(0),
        label_map=labels, palette=(RED, GREEN),
    )  # fmt: skip
    picture = draw(grey(), found)
    assert (picture[20, 20] == 128).all()
    np.testing.assert_allclose(
        picture[100, 100], (np.array(RED) + 128) / 2, atol=2
    )
    np.testing.assert_allclose(
        picture[100, 250], (np.array(GREEN) + 128) / 2, atol=2
    )
    # The list, in the lower left corner, has both colours.
    corner = picture[SIDE // 2 :, : SIDE // 2]
    assert pixels(corner, RED).any() and pixels(corner, GREEN).any()
    labels[:] = 0
    found.label_map = labels
    assert not pixels(draw(grey(), found), GREEN).any()


def test_a_long_list_leaves_half_of_the_picture():
    labels = np.arange(100).repeat(3 * SIDE).reshape(SIDE, SIDE)
    names = tuple(f'class {i}' for i in range(100))
    found = Prediction(
        'segmentation', labels.shape, names, np.zeros(0), np.zeros(0),
        label_map=labels, palette=(RED,) * 100,
    )  # fmt: skip
    dark = draw(grey(), found).max(2) < 90
    assert not dark[: SIDE // 2 - 10].any() and dark[-60:, :60].any()


def test_classifications_have_a_caption():
    found = Prediction(
        'classification', (SIDE, SIDE), ('a', 'b'), np.array([1, 0]),
        np.array([0.8, 0.2]), palette=(RED, GREEN),
    )  # fmt: skip
    picture = draw(grey(), found)
    assert (picture[: SIDE // 2] == 128).all()
    first = np.flatnonzero(pixels(picture, GREEN).any(1))
    second = np.flatnonzero(pixels(picture, RED).any(1))
    assert 0 < first.max() < second.min()


@pytest.mark.parametrize('task', ['detection', 'segmentation'])
def test_small_images_are_enlarged(task):
    image = grey(40, 64)
    image[:, 32:] = 0
    mask = np.zeros((1, 40, 64), dtype=bool)
    mask[0, 10:30, 40:60] = True
    found = objects([[40, 10, 60, 30]], [0.9], masks=mask)
    if task == 'segmentation':
        found = Prediction(
            task, (40, 64), ('a', 'b'), np.zeros(0), np.zeros(0),
            label_map=mask[0].astype(int), palette=((128,) * 3, RED),
        )  # fmt: skip
    picture = draw(image, found)
    zoom = picture.shape[0] // 40
    assert picture.shape == (zoom * 40, zoom * 64, 3)
    assert zoom * 40 >= LEGIBLE_SIDE > (zoom - 1) * 40
    # Inside the mask, reddish; beside it, not.
    assert picture[20 * zoom, 50 * zoom, 0] > 60
    beside = picture[20 * zoom, 35 * zoom].astype(int)
    assert beside.max() == beside.min()


def test_long_names_leave_room_for_the_share():
    def panel(name):
        found = Prediction(
            'classification', (900, SIDE), (name,), np.array([0]),
            np.array([0.5]), palette=(RED,),
        )  # fmt: skip
        return draw(grey(900), found)[-30:]

    first, second = (panel(f'{"long " * 99}{end}') for end in 'ab')
    assert np.array_equal(first, second)
    # The share, in light grey at the right end.
    share = first[:, -45:-6].min(2) > 180
    assert share.sum() > 30
    assert (first[:, -3:] == 128).all()


def test_names_in_other_letters():
    found = objects([[50, 60, 150, 160]], [0.9])
    found.classes = ('größe 五', 'b')
    assert pixels(draw(grey(), found), RED)[:60].sum() > 100


def test_large_pictures_have_thicker_lines():
    box = [[200, 200, 1800, 1800]]
    picture = draw(grey(2000, 2000), objects(box, [0.9]))
    assert pixels(picture, RED)[1000, 195:215].sum() >= 5
