# Copyright (c) mmfft authors. All rights reserved.
import json
import shutil
from collections import Counter

import numpy as np
import pytest
from conftest import ROOT
from mmengine.config import Config
from mmengine.fileio import dump, load
from PIL import Image

from mmfft.datasets.check import check_dataset, show_problems
from mmfft.engine import load_config
from mmfft.errors import ConfigError

CONFIGS = ROOT / 'configs'
IN1K = CONFIGS / 'gfnet' / 'gfnet-xs_8xb128_in1k.py'
COCO = CONFIGS / 'dfformer' / 'mask-rcnn_dfformer-s18_fpn_1x_coco.py'
ADE20K = CONFIGS / 'dfformer' / 'dfformer-s18_fpn_8xb4-40k_ade20k-512x512.py'
CROPS = CONFIGS / 'demo' / 'cdfformer-nano_1xb32-6e_digit-crops.py'
CLI = 'misc/check_dataset.py'


@pytest.fixture
def folder(data_layouts, tmp_path, monkeypatch):
    """A copy of the data that a test may spoil, as working directory."""
    shutil.copytree(data_layouts, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path / 'data'


def cut_off(path):
    """Leave out the end of a file."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def kinds(problems):
    return Counter(problem.kind for problem in problems)


def found(problems, kind):
    """The only problem of a kind."""
    (problem,) = [p for p in problems if p.kind == kind]
    return problem


def test_good_data(folder, digit_scenes):
    images, problems = check_dataset(load_config(str(COCO)))
    assert (images, problems) == ({'train': 8, 'val, test': 4}, [])
    images, problems = check_dataset(load_config(str(ADE20K)))
    assert (images, problems) == ({'train': 8, 'val, test': 4}, [])
    cfg = load_config(str(CROPS))
    for split in ('train', 'val', 'test'):
        cfg[f'{split}_dataloader'].dataset.data_root = str(digit_scenes)
    images, problems = check_dataset(cfg)
    assert (images, problems) == ({'train': 32, 'val, test': 20}, [])


def test_classification(folder):
    train = folder / 'imagenet' / 'train'
    listed = folder / 'imagenet' / 'meta' / 'train.txt'
    names = [line.split()[0] for line in listed.read_text().splitlines()]
    cut_off(train / names[0])
    (train / names[1]).write_bytes(b'')
    (train / names[2]).unlink()
    lines = listed.read_text().splitlines()
    lines[3] = f'{names[3]} 1000'
    listed.write_text('\n'.join(lines))
    cfg = load_config(str(IN1K), cfg_options={'model.head.num_classes': 11})
    _, problems = check_dataset(cfg)
    # Ten digits for eleven classes of the model.
    assert kinds(problems) == {
        'unreadable image': 2,
        'missing file': 1,
        'label out of range': 1,
        'empty class': 1,
    }
    assert found(problems, 'missing file').where.endswith(names[2])
    wrong = found(problems, 'label out of range')
    assert wrong.where.endswith(names[3]) and '1000' in wrong.what
    assert wrong.split == 'train'


def test_detection(folder):
    path = folder / 'coco' / 'annotations' / 'instances_train2017.json'
    truth = load(str(path))
    outside, flat, unknown, lost, maskless, *_ = truth['annotations']
    outside['bbox'][0] += 300
    flat['bbox'][2] = 0
    unknown['category_id'] = 81
    lost['image_id'] = 10**6
    maskless['segmentation'] = []
    resized, missing, cut, *_ = truth['images']
    resized['width'] += 10
    (folder / 'coco' / 'train2017' / missing['file_name']).unlink()
    cut_off(folder / 'coco' / 'train2017' / cut['file_name'])
    dump(truth, str(path))
    _, problems = check_dataset(load_config(str(COCO)))
    assert kinds(problems) == {
        'box outside the image': 1,
        'box without area': 1,
        'label out of range': 1,
        'broken annotations': 1,
        'box without mask': 1,
        'wrong size': 1,
        'missing file': 1,
        'unreadable image': 1,
    }
    assert (
        f'annotation {flat["id"]}' in found(problems, 'box without area').what
    )
    assert found(problems, 'missing file').where.endswith(missing['file_name'])
    assert {problem.split for problem in problems} == {'train'}


def test_boxes_that_only_touch_the_border_are_good(folder):
    path = folder / 'coco' / 'annotations' / 'instances_train2017.json'
    truth = load(str(path))
    truth['annotations'][0]['bbox'] = [-0.5, 0, 256.9, 192.5]
    dump(truth, str(path))
    assert check_dataset(load_config(str(COCO)))[1] == []


def test_broken_json_and_other_classes(folder):
    annotations = folder / 'coco' / 'annotations'
    cut_off(annotations / 'instances_val2017.json')
    truth = load(str(annotations / 'instances_train2017.json'))
    truth['categories'][0]['name'] = 'people'
    dump(truth, str(annotations / 'instances_train2017.json'))
    cfg = load_config(str(COCO))
    cfg.model.roi_head.bbox_head.num_classes = 20
    images, problems = check_dataset(cfg)
    assert images == {'train': 8, 'val, test': 0}
    broken = found(problems, 'broken annotations')
    assert broken.where.endswith('instances_val2017.json')
    assert 'JSONDecodeError' in broken.what
    said = [p.what for p in problems if p.kind == 'label out of range']
    assert '80 classes, the model has 20' in said
    assert "no category has the name ['person']" in said


def test_segmentation(folder):
    labels = folder / 'ade' / 'ADEChallengeData2016' / 'annotations'
    pictures = folder / 'ade' / 'ADEChallengeData2016' / 'images'
    first, second, third, fourth = sorted((labels / 'validation').iterdir())
    Image.fromarray(np.full((192, 256), 151, np.uint8)).save(first)
    Image.fromarray(np.zeros((100, 256), np.uint8)).save(second)
    third.unlink()
    cut_off(pictures / 'validation' / f'{fourth.stem}.jpg')
    _, problems = check_dataset(load_config(str(ADE20K)))
    assert kinds(problems) == {
        'label out of range': 1,
        'wrong size': 1,
        'empty labels': 1,
        'missing file': 1,
        'unreadable image': 1,
    }
    # Label 151 is class 150 of 0 to 149: 0 is nothing at all.
    assert '[150] of 150' in found(problems, 'label out of range').what
    assert found(problems, 'empty labels').where == str(
        second.relative_to(folder.parent)
    )


def test_what_is_not_there(folder):
    shutil.rmtree(folder / 'coco')
    _, problems = check_dataset(load_config(str(COCO)))
    assert kinds(problems)['missing file'] == len(problems) > 2
    # Nothing is downloaded.
    (folder / 'cifar10').mkdir()
    config = CONFIGS / 'gfnet' / 'gfnet-xs_8xb64_cifar10.py'
    _, problems = check_dataset(load_config(str(config)))
    assert kinds(problems) == {'broken annotations': 2}
    assert 'Cannot find CIFAR10' in problems[0].what


def test_paths_that_lead_elsewhere(folder):
    """They are named, and not even opened."""
    secret = folder.parent / 'secret.png'
    secret.write_bytes(b'no image at all')
    path = folder / 'coco' / 'annotations' / 'instances_train2017.json'
    truth = load(str(path))
    truth['images'][0]['file_name'] = '../../../secret.png'
    truth['images'][1]['file_name'] = str(secret)
    dump(truth, str(path))
    _, problems = check_dataset(load_config(str(COCO)))
    assert kinds(problems) == {'path outside the folder': 2}
    assert {p.where.endswith('secret.png') for p in problems} == {True}

    listed = folder / 'imagenet' / 'meta' / 'train.txt'
    lines = listed.read_text().splitlines()
    label = lines[0].split()[1]
    lines[0] = f'../../../secret.png {label}'
    listed.write_text('\n'.join(lines))
    _, problems = check_dataset(load_config(str(IN1K)))
    assert kinds(problems)['path outside the folder'] == 1
    assert kinds(problems)['unreadable image'] == 0

    ade = folder / 'ade' / 'ADEChallengeData2016'
    names = [p.stem for p in sorted((ade / 'images/training').iterdir())]
    (ade / 'list.txt').write_text('\n'.join(['../../../../secret', *names]))
    cfg = load_config(str(ADE20K))
    cfg.train_dataloader.dataset.ann_file = 'list.txt'
    _, problems = check_dataset(cfg)
    # The image and its labels.
    assert kinds(problems) == {'path outside the folder': 2}


@pytest.mark.parametrize('ending', ['.pkl', '.yaml'])
def test_annotations_that_could_run_code(ending, folder):
    trace = folder / 'trace'

    class Hostile:
        def __reduce__(self):
            return open, (str(trace), 'w')

    path = folder / 'coco' / f'hostile{ending}'
    if ending == '.pkl':
        dump(Hostile(), str(path))
    else:
        path.write_text(
            f'!!python/object/apply:builtins.open ["{trace}", "w"]'
        )
    cfg = load_config(str(COCO))
    cfg.train_dataloader.dataset.ann_file = path.name
    _, problems = check_dataset(cfg)
    unsafe = found(problems, 'unsafe annotations')
    assert unsafe.where.endswith(path.name) and not trace.exists()
    # mmengine's own reader does execute them.
    load(str(path))
    assert trace.exists()


def test_wrong_arguments():
    with pytest.raises(ConfigError, match="default_scope='mmrotate'"):
        check_dataset(Config(dict(default_scope='mmrotate')))
    with pytest.raises(ConfigError, match='nproc .* got 0'):
        check_dataset(Config(dict(default_scope='mmseg')), nproc=0)


def test_the_list_is_cut(folder, capsys):
    for picture in (folder / 'imagenet' / 'train').rglob('*.png'):
        cut_off(picture)
    images, problems = check_dataset(load_config(str(IN1K)))
    show_problems(images, problems, most=2)
    said = capsys.readouterr().out
    assert 'unreadable image: 32' in said and '... and 30 more' in said


def test_command_line(folder, call_tool, capsys):
    out = folder / 'problems.json'
    options = ['--nproc', 2, '--out', out, '--no-trial']
    with pytest.raises(SystemExit) as end:
        call_tool(CLI, COCO, *options, cwd=folder.parent)
    assert end.value.code == 0 and json.loads(out.read_text()) == []
    assert capsys.readouterr().out.endswith('no problem found\n')
    cut_off(next((folder / 'coco' / 'val2017').iterdir()))
    with pytest.raises(SystemExit) as end:
        call_tool(CLI, COCO, *options, cwd=folder.parent)
    assert end.value.code == 1
    assert 'no problem found' not in capsys.readouterr().out
    (problem,) = json.loads(out.read_text())
    assert problem['kind'] == 'unreadable image'
    assert problem['split'] == 'val, test'
