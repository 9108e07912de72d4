# Copyright (c) mmfft authors. All rights reserved.
"""Predictions drawn on their images, with Pillow alone.

Lines and letters grow with the image. A small image is enlarged first, since
no name would be legible on it.
"""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from .prediction import NAMED, Colour, Prediction

# An image whose shorter side has fewer pixels is enlarged by a whole factor.
LEGIBLE_SIDE = 288
# Opacity of masks, of a segmentation, and of panels behind text.
MASK, SEGMENT, PANEL = 0.42, 0.5, 0.72
# Share of the height that a list of classes may take, and the smallest share
# that is listed.
LIST, LEAST = 0.5, 0.0005
# Fonts for names that are not English, the first that is installed.
FONTS = (
    'NotoSansCJK-Regular.ttc',
    'Arial Unicode.ttf',
    'msyh.ttc',
    'DejaVuSans.ttf',
    'arial.ttf',
)

_Box = tuple[float, float, float, float]


def draw(
    image: np.ndarray, prediction: Prediction, score_thr: float = 0.3
) -> np.ndarray:
    """Draw what was predicted for an image.

    A classification has a caption with the most likely classes, a detection
    boxes, masks and names with scores, a segmentation the colours of the
    classes and a list of those that occur.

    Args:
        image (np.ndarray): Image, RGB uint8 ``(H, W, 3)``.
        prediction (Prediction): What was predicted for it.
        score_thr (float): Lowest score of an object that is drawn. Defaults
            to 0.3.

    Returns:
        np.ndarray: Picture, RGB uint8 ``(k * H, k * W, 3)``: ``k`` is 1,
        unless the image is small.
    """
    zoom = max(1, math.ceil(LEGIBLE_SIDE / min(image.shape[:2])))
    height, width = (zoom * side for side in image.shape[:2])
    picture = Image.fromarray(image)
    if zoom > 1:
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    pen = _Pen(height, width, ''.join(prediction.classes))
    if prediction.task == 'detection':
        _draw_objects(picture, prediction.above(score_thr), zoom, pen)
    elif prediction.task == 'segmentation':
        picture = _colour_pixels(picture, prediction, pen)
        _draw_list(picture, prediction, prediction.shares(), pen)
    else:
        likely = zip(prediction.labels[:NAMED], prediction.scores[:NAMED])
        _draw_list(picture, prediction, dict(likely), pen)
    return np.asarray(picture)


class _Pen:
    """Widths of lines and a font for pictures of some size.

    Args:
        height (int): Height of the picture in pixels.
        width (int): Width of the picture in pixels.
        letters (str): Letters that are written.
    """

    def __init__(self, height: int, width: int, letters: str) -> None:
        # Of a long, narrow picture the shorter side counts.
        size = min(math.sqrt(height * width), 1.6 * min(height, width))
        self.line = max(2, round(size / 320))
        self.font = _font(letters, max(13, round(size / 42)))
        # From the top of the highest letters to the bottom of the lowest.
        ascent, descent = self.font.getmetrics()
        self.letters = ascent + descent
        self.pad = max(3, round(self.letters / 5))

    def fit(self, text: str, width: float) -> str:
        """Shorten a text that is wider than ``width`` pixels."""
        if self.font.getlength(text) <= width:
            return text
        while text and self.font.getlength(f'{text}...') > width:
            text = text[:-1]
        return f'{text.rstrip(" ,")}...'


def _font(letters: str, size: int) -> ImageFont.FreeTypeFont:
    # Pillow's own has English letters only.
    for name in () if letters.isascii() else FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size)


def _draw_objects(
    picture: Image.Image, found: Prediction, zoom: int, pen: _Pen
) -> None:
    # The surest last, on top of the others.
    order = np.argsort(found.scores, kind='stable')
    colours = [found.colour(int(label)) for label in found.labels]
    if found.masks is not None:
        for i in order:
            _draw_mask(picture, found.masks[i], colours[i], zoom, pen)
    canvas = ImageDraw.Draw(picture)
    boxes = found.boxes * zoom
    for i in order:
        x1, y1, x2, y2 = _inside(boxes[i], picture)
        if x2 > x1 and y2 > y1:
            canvas.rectangle((x1, y1, x2, y2), None, colours[i], pen.line)
    taken: list[_Box] = []
    # The surest choose their places first.
    for i in order[::-1]:
        text = f'{found.name(int(found.labels[i]))} {found.scores[i]:.2f}'
        box = _inside(boxes[i], picture)
        taken.append(_draw_tag(picture, text, box, colours[i], taken, pen))


def _inside(box: np.ndarray, picture: Image.Image) -> _Box:
    """The part of a box that is in the picture, in whole pixels."""
    right, bottom = picture.width - 1, picture.height - 1
    x1, y1, x2, y2 = (round(float(one)) for one in box)
    x1, x2 = (min(max(0, x), right) for x in (x1, x2))
    y1, y2 = (min(max(0, y), bottom) for y in (y1, y2))
    return x1, y1, x2, y2


def _draw_mask(
    picture: Image.Image,
    mask: np.ndarray,
    colour: Colour,
    zoom: int,
    pen: _Pen,
) -> None:
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    if not len(rows):
        return
    # Only around the object: there may be many in a large picture.
    top, left = rows[0], columns[0]
    part = mask[top : rows[-1] + 1, left : columns[-1] + 1]
    shape = Image.fromarray(np.pad(part, 1).astype(np.uint8) * 255)
    shape = shape.resize(
        (shape.width * zoom, shape.height * zoom), Image.Resampling.BILINEAR
    ).point(lambda value: 255 * (value > 127))
    inner = shape.filter(ImageFilter.MinFilter(2 * (pen.line // 2) + 1))
    opacity = np.where(inner, 255 * MASK, shape).astype(np.uint8)
    place = int(left - 1) * zoom, int(top - 1) * zoom
    picture.paste(colour, place, Image.fromarray(opacity))


def _draw_tag(
    picture: Image.Image,
    text: str,
    box: _Box,
    colour: Colour,
    taken: Sequence[_Box],
    pen: _Pen,
) -> _Box:
    """Write a name at a box, beside the tags that are there already."""
    text = pen.fit(text, picture.width - 2 * pen.pad)
    width = math.ceil(pen.font.getlength(text)) + 2 * pen.pad
    height = pen.letters + pen.pad
    x1, y1, x2, y2 = box
    places = [
        (x1, y1 - height),
        (x1, y2 + 1),
        (x2 - width, y1 - height),
        (x2 - width, y2 + 1),
        (x1, y1),
        (x1, y2 - height),
    ]
    tags = []
    for x, y in places:
        if 0 <= y <= picture.height - height:
            x = max(0, min(x, picture.width - width))
            tags.append((x, y, x + width, y + height))
    if not tags:  # of a box higher than the picture, or a tiny picture
        tags = [(max(0, x1), 0, max(0, x1) + width, height)]
    free = (tag for tag in tags if not any(_meet(tag, one) for one in taken))
    tag = next(free, tags[0])
    canvas = ImageDraw.Draw(picture)
    canvas.rounded_rectangle(tag, pen.pad, colour)
    place = tag[0] + pen.pad, tag[1] + pen.pad // 2
    canvas.text(place, text, _ink(colour), pen.font)
    return tag


def _meet(a: _Box, b: _Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _ink(paper: Colour) -> Colour:
    """Black or white, whichever is easier to read on a colour."""
    red, green, blue = paper
    light = 0.299 * red + 0.587 * green + 0.114 * blue
    return (0, 0, 0) if light > 140 else (255, 255, 255)


def _colour_pixels(
    picture: Image.Image, prediction: Prediction, pen: _Pen
) -> Image.Image:
    count = len(prediction.classes)
    colours = [prediction.colour(label) for label in range(count)]
    # One more for pixels without a class, which stay as they are.
    table = np.array([*colours, (0, 0, 0)], dtype=np.uint8)
    labels = np.minimum(prediction.label_map, count)
    labels = np.asarray(
        Image.fromarray(labels.astype(np.int32)).resize(
            picture.size, Image.Resampling.NEAREST
        )
    )
    opacity = np.where(labels == count, 0.0, SEGMENT)
    border = np.zeros(labels.shape, dtype=bool)
    for step in range(1, pen.line // 2 + 1):
        border[step:] |= labels[step:] != labels[:-step]
        border[:, step:] |= labels[:, step:] != labels[:, :-step]
    opacity[border & (labels < count)] = 0.9
    mask = Image.fromarray((255 * opacity).astype(np.uint8))
    return Image.composite(Image.fromarray(table[labels]), picture, mask)


def _draw_list(
    picture: Image.Image,
    prediction: Prediction,
    shares: dict[int, float],
    pen: _Pen,
) -> None:
    """List classes with their shares in the lower left corner."""
    height = pen.letters + pen.pad
    fitting = max(1, int(LIST * picture.height) // height)
    names: list[tuple[Colour | None, str, str]] = [
        (prediction.colour(k), prediction.name(k), f'{100 * share:.1f} %')
        for k, share in shares.items()
        if share >= LEAST
    ]
    if len(names) > fitting:
        left_out = len(names) - max(1, fitting - 1)
        names = names[: max(1, fitting - 1)]
        names.append((None, f'and {left_out} more', ''))
    if not names:
        return
    swatch = pen.letters - pen.pad
    shares_width = max(pen.font.getlength(share) for *_, share in names)
    room = picture.width - shares_width - swatch - 9 * pen.pad
    names = [(colour, pen.fit(n, room), share) for colour, n, share in names]
    widths = [
        max(math.ceil(pen.font.getlength(row[i])) for row in names)
        for i in (1, 2)
    ]
    width = swatch + sum(widths) + 5 * pen.pad
    margin = min(2 * pen.pad, max(0, picture.width - width))
    left = margin
    top = picture.height - margin - len(names) * height - pen.pad
    box = (left, top, left + width, picture.height - margin)
    panel = Image.new('L', picture.size)
    ImageDraw.Draw(panel).rounded_rectangle(box, pen.pad, round(255 * PANEL))
    picture.paste((18, 18, 22), (0, 0), panel)
    canvas = ImageDraw.Draw(picture)
    for i, (colour, name, share) in enumerate(names):
        x, y = left + pen.pad, top + pen.pad + i * height
        if colour is not None:
            lower = y + pen.pad // 2
            canvas.rounded_rectangle(
                (x, lower, x + swatch, lower + swatch),
                pen.pad // 2,
                colour,
                (255, 255, 255),
            )
        x += swatch + pen.pad
        canvas.text((x, y), name, (255, 255, 255), pen.font)
        x = left + width - pen.pad - pen.font.getlength(share)
        canvas.text((x, y), share, (205, 205, 210), pen.font)
