# Copyright (c) mmfft authors. All rights reserved.
import shutil
from collections import Counter

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

from mmfft.datasets.converters.class_folders import split_folders
from mmfft.errors import ConfigError


@pytest.fixture
def root(tmp_path):
    """Ten pictures of each of three classes."""
    rng = np.random.default_rng(0)
    for name in ('b', 'a', 'c d'):
        (tmp_path / name).mkdir()
        for number in range(10):
            pixels = rng.integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f'{number}.png')
    return tmp_path


def lines(root, name):
    return (root / f'{name}.txt').read_text().splitlines()


def test_each_class_is_split(root):
    overview, problems = split_folders(root, 0.3)
    assert not problems and overview == dict(train=21, val=9)
    train, val = lines(root, 'train'), lines(root, 'val')
    for found, count in ((train, 7), (val, 3)):
        assert Counter(line[-1] for line in found) == dict.fromkeys(
            '012', count
        )
    assert not set(train) & set(val)
    assert all(line.endswith(' 2') == line.startswith('c') for line in train)


def test_one_picture_each_at_least(root):
    split_folders(root, 0.01)
    assert len(lines(root, 'val')) == 3


def test_copies_stay_together(root):
    for number in range(10):
        shutil.copy(root / 'a' / '0.png', root / 'a' / f'copy{number}.png')
    shutil.copy(root / 'a' / '1.png', root / 'b' / 'again.png')
    _, problems = split_folders(root, 0.5)
    for name in ('train', 'val'):
        of_it = [
            line
            for line in lines(root, name)
            if line.startswith(('a/0.png', 'a/copy'))
        ]
        assert len(of_it) in (0, 11)
    assert [(p.kind, p.where) for p in problems] == [
        ('two classes', 'a/1.png'),
        ('two classes', 'b/again.png'),
    ]


def test_what_is_left_out(root):
    (root / 'a' / 'notes.txt').touch()
    (root / 'a' / '0.png').write_bytes(b'torn')
    (root / 'empty').mkdir()
    (root / '.git').mkdir()
    overview, problems = split_folders(root)
    assert sum(overview.values()) == 29
    assert sorted(p.kind for p in problems) == [
        'cannot be read',
        'no image',
        'no picture',
    ]


def test_what_cannot_be_split(root):
    split_folders(root)
    with pytest.raises(ConfigError, match=r'train\.txt.*split already'):
        split_folders(root)
    with pytest.raises(ConfigError, match='has 0 folders'):
        split_folders(root / 'a')
    with pytest.raises(ConfigError, match='is not a folder'):
        split_folders(root / 'none')
    (root / 'x' / 'train').mkdir(parents=True)
    with pytest.raises(ConfigError, match="train' exists"):
        split_folders(root / 'x')


def test_output_passes_the_check(root, call_tool, capsys):
    call_tool('dataset_converters/split_folders.py', root, cwd=root)
    assert 'val.txt written' in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        call_tool(
            'misc/check_dataset.py', ROOT / 'configs/custom/cls.py',
            '--no-trial', '--nproc', 1, '--cfg-options', f'data_root={root}',
            'img_size=32', cwd=root,
        )  # fmt: skip
    assert stop.value.code == 0
