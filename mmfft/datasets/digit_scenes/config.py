# Copyright (c) mmfft authors. All rights reserved.
"""Arguments and names of the data set."""

from dataclasses import asdict, dataclass

from ...errors import ConfigError, require_whole_number

NAME = 'DigitScenes'
# Incremented whenever the same arguments would give a different picture.
VERSION = '1.1'
CLASSES = tuple('0123456789')
# Colour of each class in all pictures, and that of the background in label
# images. The data configs state the same.
PALETTE = (
    *((230, 25, 75), (60, 180, 75), (255, 225, 25), (0, 130, 200)),
    *((245, 130, 48), (145, 30, 180), (70, 240, 240), (240, 50, 230)),
    *((210, 245, 60), (250, 190, 212)),
)
BACKGROUND = (40, 40, 40)

SPLITS = ('train', 'val')
# Folders of scenes have the names that ADE20K uses.
SCENE_FOLDERS = dict(train='training', val='validation')


@dataclass(frozen=True)
class DigitScenesConfig:
    """The arguments that decide the content of a DigitScenes data set.

    Args:
        train_scenes (int): Number of training scenes. Defaults to 900.
        val_scenes (int): Number of validation scenes. Defaults to 150.
        train_crops (int): Number of training crops. Defaults to 12000.
        val_crops (int): Number of validation crops. Defaults to 720.
        scene_size (tuple[int, int] | Sequence[tuple[int, int]]): Height and
            width of a scene, at least 64 pixels each, or several sizes, which
            the scenes of a split take in turn, in an order that the seed
            shuffles. Defaults to (192, 256).
        crop_size (int): Side of a crop in pixels, at least 16. Defaults to
            64.
        seed (int): Seed of everything except the split, which is fixed.
            Defaults to 0.

    Raises:
        ConfigError: If an argument cannot be used (a ValueError).
    """

    train_scenes: int = 900
    val_scenes: int = 150
    train_crops: int = 12000
    val_crops: int = 720
    scene_size: tuple = (192, 256)
    crop_size: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        for name in (
            'train_scenes',
            'val_scenes',
            'train_crops',
            'val_crops',
            'seed',
        ):
            require_whole_number(name, getattr(self, name), 0)
        require_whole_number('crop_size', self.crop_size, 16)
        given = self.scene_size
        sequence = (tuple, list)
        several = isinstance(given, sequence) and any(
            isinstance(size, sequence) for size in given
        )
        sizes = given if several else [given]
        for size in sizes:
            if not isinstance(size, sequence) or len(size) != 2:
                raise ConfigError(
                    'scene_size must be (height, width), two whole numbers '
                    f'from 64 up, or several such pairs, got {given!r}'
                )
            for side, value in zip(('height', 'width'), size):
                require_whole_number(f'scene_size {side}', value, 64)
        # One form for each meaning, because manifests are compared.
        sizes = tuple(map(tuple, sizes))
        object.__setattr__(
            self, 'scene_size', sizes[0] if len(sizes) == 1 else sizes
        )

    @property
    def scene_sizes(self) -> tuple[tuple[int, int], ...]:
        """All sizes of scenes, (height, width) each, also if it is one."""
        several = isinstance(self.scene_size[0], tuple)
        return self.scene_size if several else (self.scene_size,)

    def as_json(self) -> dict:
        """Return the arguments as the manifest contains them."""
        sizes = [list(size) for size in self.scene_sizes]
        return dict(
            asdict(self), scene_size=sizes[0] if len(sizes) == 1 else sizes
        )
