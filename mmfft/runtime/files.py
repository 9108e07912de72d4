# Copyright (c) mmfft authors. All rights reserved.
"""Predictions for files of images."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from ..errors import ConfigError
from .drawing import draw
from .onnx_model import OnnxModel
from .reading import read_image


def predict_files(
    model: OnnxModel,
    images: Sequence[str | Path],
    out_dir: str | Path | None = None,
    score_thr: float = 0.3,
) -> Iterator[str]:
    """Predict for files of images.

    Args:
        model (OnnxModel): Model to use.
        images (Sequence[str | Path]): Paths of the images.
        out_dir (str | Path, optional): Folder for pictures of what was
            predicted, PNG files with the names of the images. Defaults to
            none: nothing is drawn.
        score_thr (float): Lowest score of an object that is counted and
            drawn, from 0 to 1. Defaults to 0.3.

    Returns:
        Iterator[str]: A line for each image, once it is done.

    Raises:
        ConfigError: If the threshold is out of range, an image cannot be
            read or used, or a picture would replace a file.
    """
    if not 0 <= score_thr <= 1:
        raise ConfigError(f'score_thr must be from 0 to 1, got {score_thr}')
    pictures: list[Path | None] = [None] * len(images)
    if out_dir is not None:
        pictures = [Path(out_dir) / f'{Path(p).stem}.png' for p in images]
        for number, picture in enumerate(pictures):
            if picture in pictures[:number]:
                raise ConfigError(
                    f'two images would be drawn as {str(picture)!r}: give '
                    'them in two calls with an --out-dir each'
                )
            if picture.exists():
                raise ConfigError(
                    f'{str(picture)!r} exists: choose another --out-dir'
                )
    return _predict(model, images, pictures, score_thr)


def _predict(model, images, pictures, score_thr) -> Iterator[str]:
    for path, picture in zip(images, pictures):
        image = read_image(path)
        prediction = model.predict(image)
        if picture is not None:
            picture.parent.mkdir(parents=True, exist_ok=True)
            drawn = draw(image, prediction, score_thr)
            Image.fromarray(drawn).save(picture)
        yield f'{path}: {prediction.describe(score_thr)}'
