# Copyright (c) mmfft authors. All rights reserved.
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope='session')
def digit_scenes(tmp_path_factory):
    """A few scenes and crops of the embedded data set."""
    from mmfft.datasets import DigitScenesConfig, make_digit_scenes

    folder = tmp_path_factory.mktemp('data') / 'digit_scenes'
    config = DigitScenesConfig(
        train_scenes=8, val_scenes=4, train_crops=32, val_crops=20
    )
    make_digit_scenes(folder, config, workers=1, progress=False)
    return folder


@pytest.fixture(scope='session')
def run_tool():
    """Run one of our command lines as a user does, in a process of its own.

    Returns a function ``run_tool(tool, *args, cwd, check)`` that gives the
    finished process, standard error merged into standard output.
    """

    def run(tool, *args, cwd, check=True):
        result = subprocess.run(
            [sys.executable, str(ROOT / 'tools' / tool), *map(str, args)],
            cwd=cwd,
            env={**os.environ, 'OMP_NUM_THREADS': '1'},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if check:
            assert result.returncode == 0, result.stdout[-4000:]
        return result

    return run


def small_data(toolbox, folder):
    """``--cfg-options`` that put a config on a few pictures of DigitScenes."""
    scenes = folder / 'scenes'
    root = folder if toolbox == 'mmpretrain' else scenes
    options = [
        f'{split}_dataloader.{key}={value}'
        for split in ('train', 'val', 'test')
        for key, value in [
            ('dataset.data_root', root),
            ('num_workers', 0),
            ('persistent_workers', False),
            ('batch_size', 4 if split == 'train' else 1),
        ]
    ]
    if toolbox == 'mmdet':
        truth = scenes / 'annotations' / 'instances_validation.json'
        options += [
            f'{split}_evaluator.ann_file={truth}' for split in ('val', 'test')
        ]
    return options
