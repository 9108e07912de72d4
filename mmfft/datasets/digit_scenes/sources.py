# Copyright (c) mmfft authors. All rights reserved.
"""Sources of the handwriting and the photographs."""

import hashlib
import importlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .config import CLASSES, NAME, SPLITS

VAL_DIGITS = 0.2

_CC0 = 'CC0 1.0'
_CC_BY_2 = 'CC BY 2.0'
_CC_BY_4 = 'CC BY 4.0'
_PUBLIC_DOMAIN = 'Public domain'
LICENCES = {
    _CC0: 'https://creativecommons.org/publicdomain/zero/1.0/',
    _PUBLIC_DOMAIN: 'https://creativecommons.org/publicdomain/mark/1.0/',
    _CC_BY_2: 'https://creativecommons.org/licenses/by/2.0/',
    _CC_BY_4: 'https://creativecommons.org/licenses/by/4.0/',
}
DISTRIBUTIONS = dict(
    PIL='pillow',
    pycocotools='pycocotools',
    rich='rich',
    scipy='scipy',
    skimage='scikit-image',
    sklearn='scikit-learn',
)


@dataclass(frozen=True)
class Photo:
    """A photograph inside an installed package.

    Args:
        package (str): Name by which the package is imported.
        path (str): Path of the file in the folder of the package.
        author (str): Name of the photographer.
        licence (str): Key of ``LICENCES``.
    """

    package: str
    path: str
    author: str
    licence: str

    def file(self) -> Path:
        """Return the path of the file.

        Raises:
            FileNotFoundError: If the installed version does not contain it.
        """
        # Not through ``skimage.data``, which would download a file that the
        # installed version does not contain.
        module = importlib.import_module(self.package)
        file = Path(module.__file__).parent / self.path
        if not file.is_file():
            raise FileNotFoundError(
                f'{DISTRIBUTIONS[self.package]} {module.__version__} does '
                f'not contain {self.path}, which {NAME} needs; it was made '
                'with scikit-image 0.26 and scikit-learn 1.9'
            )
        return file


# Photographs whose licence is named in the documentation of the package.
# Excluded are those without a named licence and those with text or numerals.
PHOTOS = dict(
    train=dict(
        astronaut=Photo(
            'skimage', 'data/astronaut.png', 'NASA', _PUBLIC_DOMAIN
        ),
        brick=Photo('skimage', 'data/brick.png', 'CC0Textures', _CC0),
        camera=Photo('skimage', 'data/camera.png', 'Lav Varshney', _CC0),
        chelsea=Photo(
            'skimage', 'data/chelsea.png', 'Stefan van der Walt', _CC0
        ),
        china=Photo(
            'sklearn', 'datasets/images/china.jpg', 'danielbuechele', _CC_BY_2
        ),
        grass=Photo('skimage', 'data/grass.png', 'linolafett', _CC0),
        hubble=Photo(
            'skimage', 'data/hubble_deep_field.jpg', 'NASA', _PUBLIC_DOMAIN
        ),
        retina=Photo('skimage', 'data/retina.jpg', 'Mikael Haggstrom', _CC0),
    ),
    val=dict(
        coffee=Photo('skimage', 'data/coffee.png', 'Rachel Michetti', _CC0),
        # The README of scikit-learn names danielbuechele here too, but it
        # links to a photograph by vultilion.
        flower=Photo(
            'sklearn', 'datasets/images/flower.jpg', 'vultilion', _CC_BY_2
        ),
        gravel=Photo('skimage', 'data/gravel.png', 'CC0Textures', _CC0),
        rocket=Photo('skimage', 'data/rocket.jpg', 'SpaceX', _PUBLIC_DOMAIN),
    ),
)


def require_packages() -> None:
    """Check that all packages that the generator needs are installed.

    Raises:
        ImportError: If one is missing. The message says how to install it.
    """
    for name, distribution in DISTRIBUTIONS.items():
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ImportError(
                f'{distribution} is needed to make {NAME} and cannot be '
                f'imported ({error}): pip install "mmfft[demo]"'
            ) from error


@dataclass(frozen=True)
class Source:
    """Handwriting and photographs, each split between train and val.

    Args:
        glyphs (np.ndarray): Digits, (N, 8, 8) in [0, 1].
        labels (np.ndarray): Classes of the digits, (N, ).
        digits (dict): Split to the indices of its digits.
        photos (dict): Split to {name: RGB image}.
        files (dict): Name of a photo to the sha256 of its file.
    """

    glyphs: np.ndarray
    labels: np.ndarray
    digits: dict[str, np.ndarray]
    photos: dict[str, dict[str, np.ndarray]]
    files: dict[str, str]

    @classmethod
    def load(cls) -> 'Source':
        """Read digits and photographs out of the installed packages.

        Raises:
            FileNotFoundError: If a package does not contain a photograph.
            ImportError: If a package is missing.
        """
        require_packages()
        from PIL import Image
        from sklearn.datasets import load_digits

        photos: dict[str, dict[str, np.ndarray]] = {}
        files = {}
        for split in SPLITS:
            photos[split] = {}
            for name, photo in PHOTOS[split].items():
                file = photo.file()
                files[name] = hashlib.sha256(file.read_bytes()).hexdigest()
                with Image.open(file) as image:
                    photos[split][name] = np.asarray(image.convert('RGB'))
        data = load_digits()
        labels = data.target.astype(np.int64)
        return cls(
            glyphs=(data.images / 16).astype(np.float32),
            labels=labels,
            digits=split_digits(labels),
            photos=photos,
            files=files,
        )

    def as_json(self) -> dict:
        """Return origins, authors and licences, for the manifest."""
        return dict(
            digits=dict(
                package='scikit-learn',
                loader='sklearn.datasets.load_digits',
                author='E. Alpaydin, C. Kaynak',
                title='Optical Recognition of Handwritten Digits (UCI)',
                # The UCI repository names it; scikit-learn names none.
                url='https://archive.ics.uci.edu/dataset/80',
                license=_CC_BY_4,
            ),
            photos={
                name: dict(
                    split=split,
                    package=DISTRIBUTIONS[photo.package],
                    file=f'{photo.package}/{photo.path}',
                    author=photo.author,
                    license=photo.licence,
                    sha256=self.files[name],
                )
                for split in SPLITS
                for name, photo in PHOTOS[split].items()
            },
        )


def split_digits(labels: np.ndarray) -> dict[str, np.ndarray]:
    """Split digits between train and val, with equal shares of each class.

    The split is fixed: it does not depend on any argument, including the
    seed, so that results with different seeds are comparable.

    Args:
        labels (np.ndarray): Classes of the digits, (N, ).

    Returns:
        dict[str, np.ndarray]: Split to the indices of its digits.
    """
    rng = np.random.default_rng(20240229)
    val = np.zeros(len(labels), dtype=bool)
    for label in range(len(CLASSES)):
        members = rng.permutation(np.flatnonzero(labels == label))
        val[members[: round(VAL_DIGITS * len(members))]] = True
    return dict(train=np.flatnonzero(~val), val=np.flatnonzero(val))
