# Copyright (c) mmfft authors. All rights reserved.
"""The commands of docs/how_to/custom_data.md, each as it stands there.

They run on a few small scenes, which are written in the forms that the page
starts from. Only the training is shortened.
"""

import json
import re
import shlex
import shutil
from importlib.util import find_spec

import numpy as np
import pytest
from conftest import ROOT
from doc_pages import (
    SHORT_TRAINING,
    add_options,
    blocks,
    lines_of,
    run_python,
)
from mmengine.fileio import load
from PIL import Image
from pycocotools.coco import COCO

pytestmark = pytest.mark.slow

PAGE = (ROOT / 'docs/how_to/custom_data.md').read_text()
COLOURS = np.random.default_rng(0).integers(0, 256, (256, 3), np.uint8)


def commands(section):
    """Commands of a section, each as a list of words."""
    (text,) = re.findall(
        rf'^## {section}\n(.*?)(?=^## |\Z)', PAGE, re.S | re.M
    )
    return [
        shlex.split(line)
        for block in blocks(text)
        if block.language == 'shell'
        for line in lines_of(block.text)
    ]


@pytest.fixture
def run(tmp_path, call_tool, call_module):
    """Run a command of the page in a folder that looks like a checkout."""
    for name in ('configs', 'tools'):
        (tmp_path / name).symlink_to(ROOT / name)

    def run(words):
        program, *words = words
        if program == 'tensorboard':  # it would not end
            assert list(tmp_path.glob(f'{words[1]}/**/events.out.tfevents.*'))
            return
        assert program == 'python'
        if words[0] == 'tools/train.py':
            words = add_options(words, SHORT_TRAINING)
            if 'det' in words[1]:  # nothing would be found yet
                words.append('model.test_cfg.score_thr=0')
        run_python(words, tmp_path, call_tool, call_module)

    return run


def write_cells(folder, scenes):
    """Boxes of two classes as Pascal VOC, in lists for training and test."""
    for name in ('JPEGImages', 'Annotations', 'ImageSets/Main'):
        (folder / name).mkdir(parents=True)
    lists = dict(training='trainval', validation='test')
    for split, name in lists.items():
        coco = COCO(scenes / 'annotations' / f'instances_{split}.json')
        stems = []
        for image in coco.loadImgs(coco.getImgIds()):
            source = scenes / 'images' / split / image['file_name']
            stem = f'{split}_{source.stem}'
            picture = Image.open(source).convert('RGB')
            picture.save(folder / 'JPEGImages' / f'{stem}.jpg')
            objects = ''
            for box in coco.imgToAnns[image['id']]:
                x, y, w, h = box['bbox']
                name = ('RBC', 'WBC')[box['category_id'] % 2]
                objects += (
                    f'<object><name>{name}</name>'
                    '<difficult>0</difficult><bndbox>'
                    f'<xmin>{x + 1:.0f}</xmin><ymin>{y + 1:.0f}</ymin>'
                    f'<xmax>{x + w:.0f}</xmax><ymax>{y + h:.0f}</ymax>'
                    '</bndbox></object>'
                )
            (folder / 'Annotations' / f'{stem}.xml').write_text(
                f'<annotation><filename>{stem}.jpg</filename><size>'
                f'<width>{picture.width}</width>'
                f'<height>{picture.height}</height><depth>3</depth></size>'
                f'{objects}</annotation>'
            )
            stems.append(stem)
        file = folder / 'ImageSets' / 'Main' / f'{name}.txt'
        file.write_text('\n'.join(stems) + '\n')


def write_nuclei(folder, scenes):
    """A folder an image, with a mask an instance."""
    coco = COCO(scenes / 'annotations' / 'instances_training.json')
    for image in coco.loadImgs(coco.getImgIds()):
        source = scenes / 'images' / 'training' / image['file_name']
        own = folder / source.stem
        (own / 'images').mkdir(parents=True)
        (own / 'masks').mkdir()
        shutil.copy(source, own / 'images' / f'{source.stem}.png')
        for number, mask in enumerate(coco.imgToAnns[image['id']]):
            pixels = Image.fromarray(255 * coco.annToMask(mask))
            pixels.save(own / 'masks' / f'{number}.png')


def write_roads(folder, scenes):
    """Label images in colours, with a palette; one class is void."""
    (folder / 'labels').mkdir(parents=True)
    shutil.copytree(scenes / 'images' / 'training', folder / 'images')
    for file in (scenes / 'annotations' / 'training').glob('*.png'):
        labels = np.asarray(Image.open(file))
        picture = Image.fromarray(COLOURS[labels])
        picture.save(folder / 'labels' / file.name)
    names = ['ground', *map('digit {}'.format, range(9)), 'void']
    lines = [
        ' '.join(map(str, [*COLOURS[i], name])) for i, name in enumerate(names)
    ]
    (folder / 'palette.txt').write_text('\n'.join(lines) + '\n')


def write_hands(folder, crops):
    """A folder a class, with nothing held back for validation."""
    shutil.copytree(crops / 'train', folder)


SECTIONS = dict(
    det='Detection: boxes',
    ins='Instance segmentation: masks',
    seg='Semantic segmentation: label images',
    cls='Classification: folders',
)


def test_each_command_of_the_page_is_run():
    shell = [block for block in blocks(PAGE) if block.language == 'shell']
    assert len(shell) == len(SECTIONS) + 1
    for section in SECTIONS.values():
        assert len(commands(section)) >= 3


@pytest.mark.parametrize('task', SECTIONS)
def test_from_a_folder_to_a_picture(task, run, tmp_path, digit_scenes, capsys):
    data = tmp_path / 'data'
    data.mkdir()
    scenes = digit_scenes / 'scenes'
    write_cells(data / 'cells', scenes)
    write_nuclei(data / 'nuclei', scenes)
    write_roads(data / 'roads', scenes)
    write_hands(data / 'hands', digit_scenes / 'crops')
    pictures = sorted((data / 'cells' / 'JPEGImages').glob('*.jpg'))[:2]
    (tmp_path / 'new_pictures').mkdir()
    for picture in pictures:
        shutil.copy(picture, tmp_path / 'new_pictures')

    for words in commands(SECTIONS[task]):
        run(words)
    assert list((tmp_path / 'browsed').rglob('*.*'))
    for words in commands('After training'):
        words = [word.replace('/det', f'/{task}') for word in words]
        if find_spec('onnxruntime') is None and 'onnx' in ' '.join(words):
            continue
        run(words)
    work_dir = tmp_path / 'work_dirs' / task
    shown = list((tmp_path / 'shown').rglob('*.*'))
    config = load(str(work_dir / 'confusion_matrix.json'))
    assert shown and config['counts']
    drawn = [p.name for p in (tmp_path / 'predictions').rglob('*.*')]
    assert {p.name for p in pictures} <= set(drawn)
    predicted = json.loads(
        (tmp_path / 'predictions' / 'predictions.json').read_text()
    )
    assert len(predicted['images']) == len(pictures)
