# Copyright (c) mmfft authors. All rights reserved.
"""What decides the content of a DigitScenes data set."""

from dataclasses import asdict, dataclass

from ...errors import ConfigError, require_whole_number

NAME = 'DigitScenes'
# Raised whenever the same arguments would give another picture.
VERSION = '1.1'
CLASSES = tuple('0123456789')

SPLITS = ('train', 'val')
# The folder of a split's scenes is named as ADE20K names it.
SCENE_FOLDERS = dict(train='training', val='validation')


@dataclass(frozen=True)
class DigitScenesConfig:
    """What decides the content of a DigitScenes data set.

    Args:
        train_scenes (int): Scenes to train on. Defaults to 900.
        val_scenes (int): Scenes to validate on. Defaults to 150.
        train_crops (int): Crops to train on. Defaults to 12000.
        val_crops (int): Crops to validate on. Defaults to 720.
        scene_size (tuple[int, int]): Height and width of a scene, at least
            64 pixels each. Defaults to (192, 256).
        crop_size (int): Side of a crop, at least 16. Defaults to 64.
        seed (int): Seed of everything but the split, which is fixed.
            Defaults to 0.

    Raises:
        ConfigError: If an argument cannot be used (a ValueError).
    """

    train_scenes: int = 900
    val_scenes: int = 150
    train_crops: int = 12000
    val_crops: int = 720
    scene_size: tuple[int, int] = (192, 256)
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
        size = self.scene_size
        if not isinstance(size, (tuple, list)) or len(size) != 2:
            raise ConfigError(
                'scene_size must be (height, width), two whole numbers from '
                f'64 up, got {size!r}'
            )
        for side, value in zip(('height', 'width'), size):
            require_whole_number(f'scene_size {side}', value, 64)
        # A tuple whatever came in: the manifest is compared with it.
        object.__setattr__(self, 'scene_size', tuple(size))

    def as_json(self) -> dict:
        """The arguments as they stand in the manifest."""
        return dict(asdict(self), scene_size=list(self.scene_size))
