# Copyright (c) mmfft authors. All rights reserved.
"""What docs/explanation/borders.md says of the toolboxes, and its snippets."""

import re

import numpy as np
import pytest
import torch
from config_files import ROOT
from mmdet.datasets import AspectRatioBatchSampler
from mmdet.structures import DetDataSample
from mmengine.dataset import Compose, DefaultSampler
from mmengine.registry import MODELS, init_default_scope
from mmseg.models import SegDataPreProcessor
from tiny_detectors import retinanet

from mmfft import data_preprocessors, heads
from mmfft.engine import build_model, load_config

PAGE = (ROOT / 'docs/explanation/borders.md').read_text()
SNIPPETS = re.findall(r'```python\n(.*?)```', PAGE, re.S)
CONFIGS = {s.split()[1]: s for s in SNIPPETS if re.match(r'# \w+\.py', s)}


def features_of(model, *images):
    """Features of the neck for the first of the images of a batch."""
    samples = [DetDataSample() for _ in images]
    data = dict(inputs=list(images), data_samples=samples)
    with torch.no_grad():
        levels = model.extract_feat(model.data_preprocessor(data)['inputs'])
    return [level[0] for level in levels]


def picture(seed, height, width):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(
        256, (3, height, width), dtype=torch.uint8, generator=generator
    )


def largest_difference(ours, theirs):
    return max(
        (a[:, : b.shape[1], : b.shape[2]] - b).abs().max()
        for a, b in zip(ours, theirs)
    )


def test_only_images_of_one_size_without_a_divisor_are_not_padded():
    cfg = retinanet()
    cfg.model.backbone.init_cfg = None
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).eval()
    assert model.data_preprocessor.pad_size_divisor == 32
    image = picture(0, 70, 101)
    padded = features_of(model, image)
    model.data_preprocessor.pad_size_divisor = 1
    alone = features_of(model, image)
    assert alone[0].shape[1:] == (9, 13)
    # Alone, in a batch of one image, an image is padded by the divisor.
    assert largest_difference(padded, alone) > 1e-3
    with_equal = features_of(model, image, picture(1, 70, 101))
    assert largest_difference(with_equal, alone) < 1e-5
    with_larger = features_of(model, image, picture(1, 80, 120))
    assert largest_difference(with_larger, alone) > 1e-3


class Sizes:
    """A data set of which only the sizes are known."""

    def __init__(self, *sizes):
        self.sizes = sizes

    def __len__(self):
        return len(self.sizes)

    def get_data_info(self, index):
        height, width = self.sizes[index]
        return dict(height=height, width=width)


def test_batches_by_aspect_ratio_have_several_sizes():
    data = Sizes((40, 60), (60, 40), (40, 90), (80, 50))
    sampler = DefaultSampler(data, shuffle=False)
    batches = list(AspectRatioBatchSampler(sampler, batch_size=2))
    assert batches == [[0, 2], [1, 3]]


@pytest.mark.parametrize(
    'scope, steps, sizes',
    [
        (
            'mmdet',
            [dict(type='Resize', scale=(96, 64), keep_ratio=False)],
            {(64, 96)},
        ),
        (
            'mmdet',
            [dict(type='Resize', scale=(96, 64), keep_ratio=True)],
            {(64, 64), (64, 96), (48, 96)},
        ),
        (
            'mmdet',
            [
                dict(type='Resize', scale=(96, 64), keep_ratio=True),
                dict(type='Pad', size=(96, 64)),
            ],
            {(64, 96)},
        ),
        (
            'mmseg',
            [dict(type='RandomCrop', crop_size=(64, 64))],
            # No larger than the crop, but smaller where the image is.
            {(64, 64), (60, 64)},
        ),
    ],
)
def test_sizes_after_the_pipeline(scope, steps, sizes):
    init_default_scope(scope)
    pipeline = Compose(steps)
    made = set()
    for size in [(80, 80), (80, 120), (60, 120)]:
        image = np.zeros((*size, 3), np.uint8)
        labels = dict(gt_seg_map=np.zeros(size, np.uint8))
        results = pipeline(
            dict(
                img=image,
                img_shape=size,
                **(labels if scope == 'mmseg' else {}),
                seg_fields=list(labels) if scope == 'mmseg' else [],
            )
        )
        made.add(results['img'].shape[:2])
    assert made == sizes


def test_mmsegmentation_tests_images_of_one_size():
    preprocessor = SegDataPreProcessor(size=(64, 64))
    equal = dict(inputs=[picture(0, 50, 60)] * 2)
    assert preprocessor(equal)['inputs'].shape[2:] == (50, 60)
    with pytest.raises(AssertionError, match='size in a batch'):
        preprocessor(dict(inputs=[picture(0, 50, 60), picture(1, 50, 61)]))


@pytest.mark.parametrize('name', CONFIGS)
def test_the_configs_of_the_page(name, tmp_path):
    (tmp_path / name).write_text(CONFIGS[name])
    cfg = load_config(str(tmp_path / name))
    model = build_model(cfg)
    preprocessor = model.data_preprocessor
    if name == 'unpadded.py':
        assert preprocessor.pad_size_divisor == 1
    elif name == 'valid_sizes.py':
        assert type(preprocessor) is data_preprocessors.DetDataPreprocessor
        assert type(model.rpn_head) is heads.RPNHead
    else:
        assert name == 'zero_boundary.py'
        filters = [m for m in model.modules() if hasattr(m, 'boundary')]
        assert filters
        assert all(m.boundary == ('zero', 'zero') for m in filters)


def test_the_other_snippets_of_the_page():
    others = [s for s in SNIPPETS if s not in CONFIGS.values()]
    assert others
    for text in others:
        exec(text, {})
