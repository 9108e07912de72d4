# Copyright (c) mmfft authors. All rights reserved.
"""The command lines on configs of any form and with foreign backbones.

Pure Python configs, where each ``type`` is a class and ``default_scope`` is
None, data sets in wrappers, names with a scope.
"""

import copy

import numpy as np
import pytest
import torch
from config_files import load, write_new_style
from mmengine.config import Config
from mmengine.fileio import load as load_file
from random_weights import save_random_weights

from mmfft.analysis.feature_models import (
    features_at,
    last_features,
    load_feature_model,
)
from mmfft.analysis.flops import config_flops
from mmfft.demo.predictor import Predictor
from mmfft.engine import (
    apply_test_options,
    build_model,
    build_runner,
    load_config,
)
from mmfft.errors import ConfigError
from mmfft.visualization.cam import _read_classifier
from mmfft.visualization.filters import see_image

CONFIGS = dict(
    mmpretrain='configs/demo/cdfformer-nano_1xb32-6e_digit-crops.py',
    mmdet='configs/demo/mask-rcnn_cdfformer-nano_fpn_1xb4-3e_digit-scenes.py',
    mmseg='configs/demo/cdfformer-nano_fpn_1xb2-2k_digit-scenes-192x256.py',
)
every_toolbox = pytest.mark.parametrize('toolbox', CONFIGS)


@pytest.fixture
def config(toolbox, digit_scenes):
    """Config of the demo, on a few pictures, without workers."""
    cfg = load(CONFIGS[toolbox])
    scenes = digit_scenes / 'scenes'
    root = digit_scenes if toolbox == 'mmpretrain' else scenes
    for split in ('train', 'val', 'test'):
        loader = cfg[f'{split}_dataloader']
        loader.update(num_workers=0, persistent_workers=False)
        loader.dataset.data_root = str(root)
        if toolbox == 'mmdet' and split != 'train':
            truth = scenes / 'annotations' / 'instances_validation.json'
            cfg[f'{split}_evaluator'].ann_file = str(truth)
    return cfg


@pytest.fixture
def image(digit_scenes):
    folder = digit_scenes / 'scenes' / 'images' / 'validation'
    return sorted(folder.glob('*.png'))[0]


@pytest.mark.slow
@every_toolbox
def test_a_config_in_pure_python(toolbox, config, image, tmp_path, call_tool):
    checkpoint = save_random_weights(config, tmp_path)
    if toolbox == 'mmdet':
        config.model.test_cfg.rcnn.max_per_img = 2
    file = tmp_path / 'new.py'
    write_new_style(config, file)
    new = load_config(str(file))
    (_, found), (_, expected) = (config_flops(c, [64]) for c in (new, config))
    assert found.params == expected.params
    assert found.by_operator == expected.by_operator
    seen, expected = (
        see_image(build_model(c, checkpoint), c, image) for c in (new, config)
    )
    np.testing.assert_array_equal(seen.image, expected.image)
    new.dump(tmp_path / 'dumped.py')
    dumped = load_config(str(tmp_path / 'dumped.py'))
    shown, expected = (
        Predictor(c, checkpoint).show(image) for c in (new, dumped)
    )
    np.testing.assert_array_equal(shown[0], expected[0])
    assert shown[1] == expected[1]
    call_tool(
        'test.py', file, checkpoint, '--work-dir', 'work', '--show-dir',
        'shown', '--show-num', 2, '--out', 'all.pkl', cwd=tmp_path,
    )  # fmt: skip
    assert len(list((tmp_path / 'shown').rglob('*.png'))) == 2
    count = 20 if toolbox == 'mmpretrain' else 4
    assert len(load_file(str(tmp_path / 'all.pkl'))) == count
    # What the test has dumped has each thing once if it is tested again.
    dumped = load_config('work/new_test.py')
    before = dumped.to_dict()
    apply_test_options(dumped, checkpoint, ['all.pkl'], show_dir='shown')
    before['default_hooks']['visualization']['num'] = None
    assert dumped.to_dict() == before
    assert build_runner(dumped)


@every_toolbox
def test_an_image_is_loaded_as_in_any_form_of_test(toolbox, config, image):
    model = build_model(config)
    expected = see_image(model, config, image).image
    leaf = config.test_dataloader.dataset
    prefixed = copy.deepcopy(leaf)
    for step in prefixed.pipeline:
        own = step.type in ('LoadAnnotations', 'PackInputs')
        own = own or step.type in ('PackDetInputs', 'PackSegInputs')
        step.type = f'{toolbox if own else "mmengine"}.{step.type}'
        if step.type == 'mmengine.LoadImageFromFile':
            # The image is on this disk, whatever the data set is on.
            step.backend_args = dict(backend='petrel')
        if step.type == 'mmengine.Resize' and toolbox != 'mmpretrain':
            step.type = f'{toolbox}.Resize'
    for dataset in (
        prefixed,
        dict(type='ConcatDataset', datasets=[leaf, prefixed]),
        dict(type='RepeatDataset', times=2, dataset=prefixed),
        dict(
            type='MultiImageMixDataset',
            pipeline=[],
            dataset=dict(type='ClassBalancedDataset', dataset=leaf),
        ),
    ):
        config.test_dataloader.dataset = dataset
        seen = see_image(model, config, image).image
        np.testing.assert_array_equal(seen, expected)
    config.test_dataloader = None
    with pytest.raises(ConfigError, match='test_dataloader, which the config'):
        see_image(model, config, image)


@pytest.fixture
def foreign(toolbox, config, tmp_path):
    """The config with a ResNet of its toolbox."""
    model = config.model
    model.backbone = dict(type='ResNet', depth=18)
    if toolbox == 'mmpretrain':
        model.neck = dict(type='GlobalAveragePooling')
        model.head = dict(
            type='LinearClsHead', num_classes=10, in_channels=512
        )
    else:
        model.neck.in_channels = [64, 128, 256, 512]
    file = tmp_path / 'foreign.py'
    config.dump(file)
    return file


@every_toolbox
def test_a_foreign_backbone(toolbox, foreign, image):
    cfg = Config.fromfile(foreign)
    with pytest.raises(ConfigError, match='ResNet has no img_size.*--shape'):
        config_flops(cfg)
    size, found = config_flops(cfg, [64])
    assert size == (64, 64) and found.flops > 1e8
    with pytest.raises(ConfigError, match='has no filter to draw'):
        see_image(build_model(cfg), cfg, image)
    backbone = load_feature_model(str(foreign))
    assert not backbone.training
    x = torch.randn(1, 3, 64, 64)
    assert last_features(backbone, x).shape == (1, 512, 2, 2)
    assert features_at(backbone, x, 32).shape == (1, 512, 2, 2)
    with pytest.raises(ConfigError, match='strides: ResNet'):
        features_at(backbone, x, 2)
    if toolbox == 'mmpretrain':
        assert _read_classifier(str(foreign)).model.backbone.type == 'ResNet'
    else:
        with pytest.raises(ConfigError, match=f'a config of {toolbox}'):
            _read_classifier(str(foreign))


@every_toolbox
def test_a_model_without_a_backbone(toolbox, config):
    config.model = dict(type='mmengine.BaseDataPreprocessor')
    config.pop('data_preprocessor')
    with pytest.raises(ConfigError, match='has no backbone'):
        config_flops(config, [64])
