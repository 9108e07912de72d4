# Copyright (c) mmfft authors. All rights reserved.
"""Sources as they come out of editors and exports, and what spoils them."""

import json
import os

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageDraw
from pycocotools.coco import COCO

from mmfft.datasets.converters.coco import to_coco
from mmfft.datasets.converters.splits import assign
from mmfft.errors import ConfigError

W, H = 40, 30
LINE = '0 0.5 0.5 0.5 0.5\n'


def save(file, size=(W, H)):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', size, (90, 120, 30)).save(file)


def write(file, text):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def save_mask(file, pixels):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)


def xml(box=(11, 6, 20, 15), name='cat', filename='x.jpg'):
    edges = ('xmin', 'ymin', 'xmax', 'ymax')
    inner = ''.join(f'<{e}>{v}</{e}>' for e, v in zip(edges, box))
    return (
        f'<annotation><filename>{filename}</filename><object><name>{name}'
        f'</name><bndbox>{inner}</bndbox></object></annotation>'
    )


def labelme(*shapes, name='0.jpg'):
    shapes = [dict(label='a', **shape) for shape in shapes]
    return json.dumps(
        dict(shapes=shapes, imagePath=name, imageWidth=W, imageHeight=H)
    )


def via(*regions, name='0.jpg', attributes=None):
    entries = [
        dict(shape_attributes=shape, region_attributes=attributes or {})
        for shape in regions
    ]
    return json.dumps({name: dict(filename=name, size=1, regions=entries)})


RECT = dict(name='rect', x=10, y=5, width=10, height=10)


def convert(root, form, **options):
    """All of a source as training; returns images, objects and problems."""
    options = {'val_fraction': 0, 'overwrite': True, **options}
    _, problems, _ = to_coco(root, form, **options)
    content = json.loads((options.get('out') or root).joinpath(
        'train.json').read_text())  # fmt: skip
    kinds = [problem.kind for problem in problems]
    return content['images'], content['annotations'], kinds


# ------------------------------------------------------------------- splits


def test_names_in_lists(tmp_path):
    pictures = ['a/1.jpg', 'b/1.jpg', 'b/IMG (2).rf.1x.jpg', 'c/3.png']
    (tmp_path / 't').write_text('a/1\n./b/IMG (2).rf.1x\n')
    (tmp_path / 'v').write_text('/far/away/b/1.jpg\n3.png\n9.jpg\n')
    lists = dict(train=tmp_path / 't', val=tmp_path / 'v')
    found, unknown = assign(pictures, lists)
    splits = ('train', 'val', 'train', 'val')
    assert found == dict(zip(pictures, splits)) and unknown == ['9.jpg']
    # What is in no list belongs to the list that is not given.
    assert assign(pictures, dict(val=tmp_path / 'v'))[0] == found
    (tmp_path / 'v').write_text('1.jpg\n')
    with pytest.raises(ConfigError, match="'a/1.jpg' or 'b/1.jpg': write mor"):
        assign(pictures, lists)
    (tmp_path / 'v').write_text('a/1.jpg\n')
    with pytest.raises(ConfigError, match="'a/1.jpg' is in both lists"):
        assign(pictures, lists)


@pytest.mark.parametrize(
    'lists, said, counts',
    [
        (dict(train='a b', test='c'), 'train is for training', [2, 1]),
        (dict(trainval='a b'), 'only trainval: pictures of these', [1, 1]),
        (dict(train='a b', val='b c'), "split as in the source's", [2, 1]),
    ],
)  # fmt: skip
def test_incomplete_lists_of_voc(lists, said, counts, tmp_path):
    for stem in 'abcd':
        save(tmp_path / 'JPEGImages' / f'{stem}.jpg')
        write(tmp_path / 'Annotations' / f'{stem}.xml', xml())
    for name, stems in lists.items():
        text = '\n'.join(stems.split())
        write(tmp_path / 'ImageSets' / 'Main' / f'{name}.txt', text)
    overview, problems, lines = to_coco(tmp_path, 'voc', val_fraction=0.5)
    assert said in lines[0]
    assert [overview['train'], overview['val']] == counts
    in_two = [p.where for p in problems if p.kind == 'in two lists']
    assert in_two == (['b'] if 'val' in lists else [])


def test_names_with_dots_in_lists_of_voc(tmp_path):
    for stem in ('1_jpg.rf.aa', '2_jpg.rf.bb'):
        save(tmp_path / 'JPEGImages' / f'{stem}.jpg')
        write(tmp_path / 'Annotations' / f'{stem}.xml', xml())
    folder = tmp_path / 'ImageSets' / 'Main'
    write(folder / 'train.txt', '1_jpg.rf.aa\n')
    write(folder / 'val.txt', '2_jpg.rf.bb\n')
    overview, problems, _ = to_coco(tmp_path, 'voc')
    assert overview == dict(train=1, val=1) and not problems


def test_folders_of_splits_with_the_same_names(tmp_path):
    for split in ('train', 'valid'):
        save(tmp_path / split / '1.jpg')
        write(tmp_path / split / '1.xml', xml())
    overview, problems, _ = to_coco(tmp_path, 'voc')
    assert overview == dict(train=1, val=1) and not problems


def test_masks_with_the_names_of_the_pictures(tmp_path):
    """As in the Oxford-IIIT pets."""
    save(tmp_path / 'images' / '1.jpg')
    save(tmp_path / 'annotations' / 'trimaps' / '1.png')
    write(tmp_path / 'annotations' / 'xmls' / '1.xml', xml(filename='1.jpg'))
    (image,), _, kinds = convert(tmp_path, 'voc')
    assert image['file_name'] == 'images/1.jpg' and kinds == ['no annotation']


def test_a_folder_above_voc(tmp_path):
    save(tmp_path / 'VOC2012' / 'JPEGImages' / '1.jpg')
    write(tmp_path / 'VOC2012' / 'Annotations' / '1.xml', xml())
    with pytest.raises(ConfigError, match='VOC2012.* has: give that folder'):
        to_coco(tmp_path, 'voc')


# --------------------------------------------------------------------- YOLO


def test_yolo_beside_the_pictures_below_a_folder_called_images(tmp_path):
    root = tmp_path / 'images' / 'mine'
    save(root / '1.jpg')
    write(root / '1.txt', LINE)
    write(root / 'obj.names', '\ufeffcat\n')
    _, (cat,), kinds = convert(root, 'yolo')
    assert cat['bbox'] == [10, 7.5, 20, 15] and not kinds
    content = json.loads((root / 'train.json').read_text())
    assert content['categories'] == [dict(id=1, name='cat')]


def test_yolo_lines_that_cannot_be_used(tmp_path):
    for name in '123':
        save(tmp_path / 'images' / f'{name}.jpg')
    write(
        tmp_path / 'labels' / '1.txt',
        f'{LINE}0 20 15 20 15\n0 0.5 0.5 nan 0.5\n0 .5 .5 .5 .5 0.9\n',
    )
    (tmp_path / 'labels' / '2.txt').write_bytes(b'\xff\xfe0\x00')
    write(tmp_path / 'labels' / 'lost.txt', LINE)
    images, annotations, kinds = convert(tmp_path, 'yolo')
    assert len(annotations) == 1 and len(images) == 3
    assert kinds == [*['cannot be read'] * 4, 'missing picture']
    _, _, said = to_coco(tmp_path, 'yolo', overwrite=True)
    assert '1 pictures have no text file: kept, without objects' in said


def test_yaml_of_yolo(tmp_path):
    save(tmp_path / 'images' / '1.jpg')
    write(tmp_path / 'labels' / '1.txt', LINE)
    text = 'names: [a]\ntrain: images\nval: images\ntest: ../test/images\n'
    write(tmp_path / 'data.yaml', text)
    assert len(convert(tmp_path, 'yolo')[0]) == 1
    write(tmp_path / 'data.yaml', 'names: [a]\nkpt_shape: [17, 3]\n')
    with pytest.raises(ConfigError, match='for keypoints'):
        to_coco(tmp_path, 'yolo', overwrite=True)


# ------------------------------------------------------------- labelme, VIA


def test_what_other_editors_write_as_labelme(tmp_path):
    save(tmp_path / '0.jpg')
    corners = [(10, 5), (20, 5), (20, 15), (10, 15)]
    text = labelme(
        dict(points=corners, shape_type='rectangle', group_id=1),
        dict(points=corners, shape_type='rotation', group_id=1),
        name='C:\\data\\0.jpg',
    )
    (tmp_path / '0.json').write_text(text, encoding='utf-8-sig')
    _, annotations, kinds = convert(tmp_path, 'labelme')
    assert [a['bbox'] for a in annotations] == [[10, 5, 10, 10]] * 2
    assert ['segmentation' in a for a in annotations] == [False, True]
    assert not kinds
    said = to_coco(tmp_path, 'labelme', val_fraction=0, overwrite=True)[2]
    assert '1 of 2 objects are boxes without a mask' in said[-2]


def test_faults_of_labelme(tmp_path):
    triangle = dict(points=[(1, 1), (5, 1), (1, 5)])
    for name in 'abc':
        save(tmp_path / f'{name}.jpg')
    write(tmp_path / 'a.json', labelme(triangle, name='renamed.jpg'))
    mask = dict(points=[(0, 0), (3, 3)], shape_type='mask', mask='AAAA')
    write(tmp_path / 'b.json', labelme(mask, name='b.jpg'))
    write(
        tmp_path / 'd.json',
        json.dumps(dict(shapes=[dict(label=None, points=[])], imagePath='')),
    )
    images, annotations, kinds = convert(tmp_path, 'labelme')
    assert [i['file_name'] for i in images] == ['a.jpg']
    assert len(annotations) == 1
    assert sorted(kinds) == [
        'cannot be read', 'missing picture', 'no annotation',
        'no annotation', 'no class',
    ]  # fmt: skip


def test_via_of_each_split_in_its_folder(tmp_path):
    for split in ('train', 'val'):
        save(tmp_path / split / '0.jpg')
        write(tmp_path / split / 'via_region_data.json', via(RECT))
    overview, problems, _ = to_coco(tmp_path, 'via', classes=['balloon'])
    assert overview == dict(train=1, val=1) and not problems
    assert overview.classes['val'] == dict(balloon=1)


def test_broken_regions_of_via(tmp_path):
    save(tmp_path / '0.jpg')
    save(tmp_path / '1.jpg')
    text = via(RECT, dict(name='rect', x=1), attributes=dict(kind=None))
    write(tmp_path / 'via.json', text)
    _, annotations, kinds = convert(tmp_path, 'via')
    assert len(annotations) == 1
    assert kinds == ["cannot be read (KeyError: 'y')", 'no annotation']


# -------------------------------------------------------------- mask folder


def numbered():
    pixels = np.zeros((H, W), np.uint8)
    pixels[2:6, 3:9], pixels[20:25, 30:40] = 7, 9
    return pixels


def test_numbered_masks_in_folders_of_classes_and_splits(tmp_path):
    for place in ('train/1', 'train/2', 'val/1'):
        save(tmp_path / 'images' / f'{place}.jpg')
        save_mask(tmp_path / 'masks' / 'cell' / f'{place}.png', numbered())
    overview, problems, _ = to_coco(tmp_path, 'mask-folder')
    assert overview == dict(train=2, val=1) and not problems
    assert overview.classes['train'] == dict(cell=4)


@pytest.mark.parametrize('others', [(), ('.DS_Store', 'notes.txt')])
def test_one_mask_an_instance(others, tmp_path):
    save(tmp_path / 'x' / 'images' / 'x.png')
    for name in others:
        write(tmp_path / 'x' / 'images' / name, '')
    for number in (7, 9):
        pixels = 255 * (numbered() == number).astype(np.uint8)
        # The name of the picture means nothing here.
        name = 'x' if number == 7 else 'y'
        save_mask(tmp_path / 'x' / 'masks' / f'{name}.png', pixels)
    _, annotations, kinds = convert(tmp_path, 'mask-folder', classes=['c'])
    assert [a['bbox'] for a in annotations] == [[3, 2, 6, 4], [30, 20, 10, 5]]
    coco = COCO(tmp_path / 'train.json')
    masks = [coco.annToMask(annotation) for annotation in annotations]
    assert (masks[0] == (numbered() == 7)).all() and not kinds


def test_faults_of_masks(tmp_path):
    for number in range(4):
        save(tmp_path / 'images' / f'{number}.jpg')
    save_mask(tmp_path / 'masks' / '0.png', numbered())
    save_mask(tmp_path / 'masks' / '1.jpg', numbered())
    save_mask(tmp_path / 'masks' / '2.png', numbered()[:9])
    save_mask(tmp_path / 'masks' / 'lost.png', numbered())
    images, annotations, kinds = convert(tmp_path, 'mask-folder')
    assert [i['file_name'] for i in images] == ['images/0.jpg', 'images/1.jpg']
    assert len(annotations) == 2
    assert sorted(kinds) == [
        'another size', 'cannot be read', 'missing picture', 'no mask'
    ]  # fmt: skip


def test_masks_of_an_image_in_two_sizes_or_empty(tmp_path):
    save(tmp_path / 'x' / 'images' / 'x.png')
    folder = tmp_path / 'x' / 'masks'
    save_mask(folder / 'a.png', numbered())
    save_mask(folder / 'b.png', numbered()[:5])
    save_mask(folder / 'c.png', 0 * numbered())
    _, annotations, kinds = convert(tmp_path, 'mask-folder')
    assert [a['bbox'] for a in annotations] == [[3, 2, 37, 23]]
    assert kinds == ['another size', 'no area']


# ----------------------------------------------------------------- geometry


def drawn(points):
    canvas = Image.new('1', (W + 80, H + 80))
    shifted = [(x + 40, y + 40) for x, y in points]
    ImageDraw.Draw(canvas).polygon(shifted, fill=1)
    return np.asarray(canvas)[40 : H + 40, 40 : W + 40]


@pytest.mark.parametrize(
    'points',
    [
        [(-30, 15), (30, 0), (30, 30)],
        [(10, -20), (60, 15), (10, 50), (25, 15)],
        [(-10, -10), (50, -10), (50, 40), (-10, 40)],
    ],
)
def test_polygons_are_cut_along_the_border(points, tmp_path):
    save(tmp_path / '0.jpg')
    write(tmp_path / '0.json', labelme(dict(points=points)))
    _, (annotation,), kinds = convert(tmp_path, 'labelme')
    mask = COCO(tmp_path / 'train.json').annToMask(annotation)
    # Both draw lines of their own width.
    assert (mask != drawn(points)).mean() < 0.08
    x, y, w, h = annotation['bbox']
    assert x >= 0 and y >= 0 and x + w <= W and y + h <= H
    assert kinds == ['outside']


@pytest.mark.parametrize(
    'box, kind',
    [
        ((50, 5, 60, 15), 'outside'),
        ((5, 5, 5.3, 15), 'no area'),
        ((20, 5, 10, 15), 'no area'),
        ((float('nan'), 5, 10, 15), 'no area'),
        ((float('-inf'), 5, 10, 15), 'no area'),
    ],
)
def test_boxes_that_are_dropped(box, kind, tmp_path):
    """Each is listed once."""
    save(tmp_path / '0.jpg')
    x1, y1, x2, y2 = box
    shape = dict(name='rect', x=x1, y=y1, width=x2 - x1, height=y2 - y1)
    write(tmp_path / 'via.json', via(RECT, shape))
    _, annotations, kinds = convert(tmp_path, 'via')
    assert len(annotations) == 1 and kinds == [kind]


def test_pictures_that_exif_turns_with_upright_boxes(tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.new('RGB', (H, W)).save(tmp_path / '0.jpg', exif=exif)
    write(tmp_path / '0.json', labelme(dict(points=[(1, 1), (9, 1), (1, 9)])))
    (image,), (annotation,), kinds = convert(tmp_path, 'labelme')
    assert (image['width'], annotation['bbox']) == (W, [1, 1, 8, 8])
    assert not kinds  # the annotated size is that of the upright picture
    # VIA says no size.
    (tmp_path / '0.json').unlink()
    write(tmp_path / 'via.json', via(RECT))
    assert convert(tmp_path, 'via')[2] == ['turned by EXIF']


# ------------------------------------------------------------------- output


def test_nothing_that_can_be_used(tmp_path):
    save(tmp_path / '0.jpg')
    shape = dict(RECT, x=100)
    write(tmp_path / 'via.json', via(shape))
    with pytest.raises(ConfigError, match=r'be used: outside \(1\), the firs'):
        to_coco(tmp_path, 'via', val_fraction=0)
    assert not (tmp_path / 'train.json').exists()
    # Pictures alone are no form.
    with pytest.raises(ConfigError, match='form yolo; it looks like via$'):
        to_coco(tmp_path, 'yolo')
    (tmp_path / 'via.json').unlink()
    with pytest.raises(ConfigError, match='no object of the form voc$'):
        to_coco(tmp_path, 'voc')


def test_places_of_the_output(tmp_path):
    source = tmp_path / 'source'
    save(tmp_path / 'far' / '0.jpg')
    (source / 'a').mkdir(parents=True)
    os.symlink(tmp_path / 'far' / '0.jpg', source / 'a' / '0.jpg')
    write(source / 'a' / 'via.json', via(RECT))
    (image,), _, _ = convert(source, 'via')
    assert image['file_name'] == 'a/0.jpg' and len(os.listdir(source)) == 2
    with pytest.raises(ConfigError, match='is inside of the source'):
        convert(source, 'via', out=source / 'coco')
    out = tmp_path / 'out'
    save(out / 'images' / 'a' / '0.jpg', (W + 1, H))
    with pytest.raises(ConfigError, match='is another picture than'):
        convert(source, 'via', out=out)
    assert not (out / 'train.json').exists()
    with pytest.raises(ConfigError, match="--classes has 'a' twice"):
        convert(source, 'via', classes=['a', 'a'])


def test_faults_are_counted_on_standard_error(tmp_path, call_tool, capsys):
    save(tmp_path / '0.jpg')
    write(tmp_path / 'via.json', via(RECT, dict(RECT, x=100)))
    tool = 'dataset_converters/to_coco.py'
    call_tool(tool, tmp_path, '--from', 'via', '--val-fraction', 0,
              cwd=tmp_path)  # fmt: skip
    said = capsys.readouterr()
    assert said.err == 'to_coco.py: 1 fault of the source, see above\n'
    assert 'outside: 1' in said.out
    with pytest.raises(SystemExit) as stop:
        call_tool(tool, tmp_path, '--from', 'via', cwd=tmp_path)
    assert stop.value.code == 2
    assert 'to_coco.py: error: ' in capsys.readouterr().err
