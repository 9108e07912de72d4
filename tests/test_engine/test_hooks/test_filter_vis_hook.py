# Copyright (c) mmfft authors. All rights reserved.
import io
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from config_files import load, quiet
from mmengine.runner import Runner
from PIL import Image

from mmfft.engine import FilterVisHook
from mmfft.errors import ConfigError
from mmfft.visualization.filters import draw_filters, read_filters, see_image

CONFIG = 'configs/demo/cdfformer-nano_1xb32-6e_digit-crops.py'
STAGE = 'backbone.stages.3'
HAS_TENSORBOARD = find_spec('tensorboard') is not None


@pytest.fixture
def train(tmp_path):
    """Train an epoch of two iterations with a hook; the Runner."""
    rng = np.random.default_rng(0)
    for label in '01':
        (tmp_path / 'crops' / label).mkdir(parents=True)
        for name in 'ab':
            pixels = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
            path = tmp_path / 'crops' / label / f'{name}.png'
            Image.fromarray(pixels).save(path)

    def run(backends, **hook):
        cfg = load(CONFIG)
        cfg.work_dir = str(tmp_path / 'work')
        cfg.experiment_name = f'hook_{tmp_path.parent.name}_{tmp_path.name}'
        loader = cfg.train_dataloader
        loader.update(batch_size=2, num_workers=0, persistent_workers=False)
        loader.dataset.update(data_root=str(tmp_path), data_prefix='crops')
        cfg.train_cfg.max_epochs = 1
        cfg.param_scheduler = None
        for name in ('val_cfg', 'val_dataloader', 'val_evaluator'):
            cfg[name] = None
        cfg.test_cfg = cfg.test_evaluator = None
        cfg.visualizer.vis_backends = [dict(type=b) for b in backends]
        cfg.default_hooks.checkpoint = None
        cfg.custom_hooks = [dict(type='mmfft.FilterVisHook', **hook)]
        test = cfg.test_dataloader
        cfg.test_dataloader = None
        with quiet():
            runner = Runner.from_cfg(cfg)
            runner.cfg.test_dataloader = test
            runner.train()
        return runner

    return run


def written(runner):
    """Pictures of LocalVisBackend, by step."""
    folder = Path(runner.log_dir, 'vis_data', 'vis_image')
    return {
        int(path.stem.removeprefix('filters_')): np.asarray(Image.open(path))
        for path in folder.iterdir()
    }


def test_by_epoch(train):
    backends = ['LocalVisBackend']
    if HAS_TENSORBOARD:
        backends.append('TensorboardVisBackend')
    runner = train(backends, layers=[STAGE], channels=2)
    pictures = written(runner)
    assert sorted(pictures) == [0, 1]
    assert not np.array_equal(pictures[0], pictures[1])
    # As the command line would draw the trained model.
    expected = draw_filters(read_filters(runner.model, [STAGE]), 2)
    assert np.array_equal(pictures[1], expected)
    if not HAS_TENSORBOARD:
        return
    from tensorboard.backend.event_processing import event_accumulator

    events = event_accumulator.EventAccumulator(
        str(Path(runner.log_dir, 'vis_data')), size_guidance=dict(images=0)
    )
    events.Reload()
    images = events.Images('filters')
    assert [image.step for image in images] == [0, 1]
    stored = Image.open(io.BytesIO(images[1].encoded_image_string))
    assert np.array_equal(np.asarray(stored), expected)


def test_by_iteration_with_an_image(train, tmp_path):
    image = str(tmp_path / 'crops' / '0' / 'a.png')
    runner = train(
        ['LocalVisBackend'],
        interval=2,
        by_epoch=False,
        layers=[STAGE],
        channels=[5],
        image=image,
    )
    pictures = written(runner)
    assert sorted(pictures) == [0, 2]
    # It was evaluated in between, and training went on.
    assert runner.model.training and runner.iter == 2
    seen = see_image(runner.model, runner.cfg, image)
    filters = read_filters(runner.model, [STAGE], seen)
    assert pictures[2].shape == draw_filters(filters, [5], seen.image).shape


def test_wrong_settings(train):
    with pytest.raises(ConfigError, match='interval .* from 1 up, got 0'):
        FilterVisHook(interval=0)
    # Before the first epoch, not after it.
    with pytest.raises(ConfigError, match='is SepConv'):
        train(['LocalVisBackend'], layers=['backbone.stages.0'])
