# Copyright (c) mmfft authors. All rights reserved.
import pkgutil
from collections.abc import Sequence

from mmpretrain.evaluation import Accuracy

from ..errors import ConfigError
from ..registry import METRICS

SUBSETS = ('imagenet_a', 'imagenet_r')


@METRICS.register_module()
class SubsetAccuracy(Accuracy):
    """Accuracy of an ImageNet-1K classifier among a subset of the classes.

    For `ImageNet-A <https://arxiv.org/abs/1907.07174>`_ and `ImageNet-R
    <https://arxiv.org/abs/2006.16241>`_, a model of all 1,000 classes chooses
    only among their 200 classes, as published. The lists of classes are
    timm's.

    Args:
        subset (str): ``'imagenet_a'`` or ``'imagenet_r'``. The data set must
            have these classes, named by WordNet id and sorted, as folders
            are.
        **kwargs: Arguments of mmpretrain's ``Accuracy``.

    Raises:
        ConfigError: If the subset is unknown.
    """

    def __init__(self, subset: str, **kwargs):
        if subset not in SUBSETS:
            raise ConfigError(f'subset={subset!r} must be one of {SUBSETS}')
        super().__init__(**kwargs)
        self.subset = subset
        self.classes = tuple(_lines(f'{subset}_synsets.txt'))
        self.indices = [int(i) for i in _lines(f'{subset}_indices.txt')]

    def process(self, data_batch, data_samples: Sequence[dict]) -> None:
        """Keep the scores of the subset's classes.

        Args:
            data_batch: Not used.
            data_samples (Sequence[dict]): Samples with the ``pred_score`` of
                all 1,000 classes and a ``gt_label`` within the subset.

        Raises:
            ConfigError: If the classes of the data set are not those of the
                subset, or the model does not have 1,000 classes.
        """
        self._check_classes(tuple(self.dataset_meta['classes']))
        samples = []
        for sample in data_samples:
            score = sample['pred_score']
            if len(score) != 1000:
                raise ConfigError(
                    f'subset={self.subset!r} is a subset of the 1,000 classes '
                    f'of ImageNet-1K, but the model has {len(score)}'
                )
            samples.append({**sample, 'pred_score': score[self.indices]})
        super().process(data_batch, samples)

    def _check_classes(self, classes: tuple[str, ...]) -> None:
        if classes == self.classes:
            return
        missing = [c for c in self.classes if c not in classes]
        strange = [c for c in classes if c not in self.classes]
        raise ConfigError(
            f'the {len(classes)} folders of the data set are not the '
            f'{len(self.classes)} classes of {self.subset}: missing '
            f'{missing[:3]}, unknown {strange[:3]}'
        )


def _lines(name: str) -> list[str]:
    return pkgutil.get_data('timm.data', f'_info/{name}').decode().split()
