# Copyright (c) mmfft authors. All rights reserved.
import base64
import io
import json

import numpy as np
import pytest
from conftest import ROOT
from PIL import ExifTags, Image, ImageOps
from pycocotools.coco import COCO

from mmfft.datasets.converters.coco import READERS, to_coco
from mmfft.errors import ConfigError

W, H = 40, 30
# A square with a corner cut off, and what is around it.
POLYGON = [(10, 5), (20, 5), (20, 15), (15, 15), (10, 10)]
AROUND = [10, 5, 10, 10]


def save_picture(file, size=(W, H), **options):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', size, (90, 120, 30)).save(file, **options)


def xml(objects, size=(W, H), filename='x.jpg'):
    text = ''.join(
        f'<object><name>{name}</name><difficult>{difficult}</difficult>'
        f'<bndbox><xmin>{box[0]}</xmin><ymin>{box[1]}</ymin>'
        f'<xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox></object>'
        for name, box, difficult in objects
    )
    return (
        f'<annotation><filename>{filename}</filename><size><width>{size[0]}'
        f'</width><height>{size[1]}</height></size>{text}</annotation>'
    )


def write_voc(root, count=4, difficult=0):
    for number in range(count):
        save_picture(root / 'JPEGImages' / f'{number}.jpg')
        file = root / 'Annotations' / f'{number}.xml'
        file.parent.mkdir(exist_ok=True)
        objects = [
            ('cat', (11, 6, 20, 15), 0),
            ('dog', (1, 1, 5, 5), difficult),
        ]
        file.write_text(xml(objects[: 1 + number % 2]))


def write_yolo(root, count=4):
    for number in range(count):
        save_picture(root / 'images' / f'{number}.jpg')
        file = root / 'labels' / f'{number}.txt'
        file.parent.mkdir(exist_ok=True)
        corners = ' '.join(f'{x / W} {y / H}' for x, y in POLYGON)
        box = f'{15 / W} {10 / H} {10 / W} {10 / H}'
        file.write_text(f'0 {corners}\n1 {box}\n')
    (root / 'data.yaml').write_text('names: {0: cat, 1: dog}\n')


def labelme(shapes, name, **more):
    size = dict(imageWidth=W, imageHeight=H)
    return json.dumps(dict(shapes=shapes, imagePath=name, **{**size, **more}))


def write_labelme(root, count=4):
    for number in range(count):
        save_picture(root / f'{number}.jpg')
        shapes = [
            dict(label='cat', points=POLYGON, shape_type='polygon'),
            dict(label='dog', points=[(20, 15), (10, 5)],
                 shape_type='rectangle'),
        ]  # fmt: skip
        text = labelme(shapes, f'{number}.jpg')
        (root / f'{number}.json').write_text(text)


def write_via(root, count=4):
    entries = {}
    for number in range(count):
        save_picture(root / f'{number}.jpg')
        xs, ys = zip(*POLYGON)
        shapes = [
            dict(name='polygon', all_points_x=xs, all_points_y=ys),
            dict(name='rect', x=10, y=5, width=10, height=10),
        ]
        regions = [
            dict(shape_attributes=shape, region_attributes={'kind': kind})
            for shape, kind in zip(shapes, ('cat', 'dog'))
        ]
        entries[f'{number}.jpg123'] = dict(
            filename=f'{number}.jpg', size=123, regions=regions
        )
    content = {'_via_img_metadata': entries, '_via_settings': {}}
    (root / 'via.json').write_text(json.dumps(content))


def disk():
    mask = np.zeros((H, W), np.uint8)
    mask[5:15, 10:20] = 255
    mask[8:10, 12:14] = 0  # a hole
    return mask


def write_mask_folder(root, count=4):
    for number in range(count):
        save_picture(root / str(number) / 'images' / f'{number}.png')
        for name in ('cat', 'dog'):
            file = root / str(number) / 'masks' / name / '0.png'
            file.parent.mkdir(parents=True)
            Image.fromarray(disk()).save(file)


WRITERS = {
    'voc': write_voc,
    'yolo': write_yolo,
    'labelme': write_labelme,
    'via': write_via,
    'mask-folder': write_mask_folder,
}


def read(root, split='train'):
    content = json.loads((root / f'{split}.json').read_text())
    return content['images'], content['annotations'], content['categories']


def test_each_form_has_a_test():
    assert WRITERS.keys() == READERS.keys()


@pytest.mark.parametrize('form', WRITERS)
def test_each_form(form, tmp_path):
    WRITERS[form](tmp_path)
    overview, problems, _ = to_coco(tmp_path, form, val_fraction=0.5)
    assert not problems
    assert overview == dict(train=2, val=2)
    for split in ('train', 'val'):
        images, annotations, categories = read(tmp_path, split)
        assert [c['name'] for c in categories] == ['cat', 'dog']
        assert [c['id'] for c in categories] == [1, 2]
        cats = [a for a in annotations if a['category_id'] == 1]
        assert len(cats) == len(images) == 2
        for image in images:
            assert (image['width'], image['height']) == (W, H)
            assert (tmp_path / image['file_name']).is_file()
        for cat in cats:
            assert cat['bbox'] == pytest.approx(AROUND)
            assert cat['iscrowd'] == 0


@pytest.mark.parametrize('form', WRITERS)
def test_output_passes_the_check(form, tmp_path, call_tool, capsys):
    source, out = tmp_path / 'source', tmp_path / 'out'
    WRITERS[form](source)
    call_tool(
        'dataset_converters/to_coco.py', source, '--from', form,
        '--out', out, cwd=tmp_path,
    )  # fmt: skip
    said = capsys.readouterr().out
    assert 'boxes of each class' in said and 'written to' in said
    assert not list(source.glob('train.json'))
    with pytest.raises(SystemExit) as stop:
        call_tool(
            'misc/check_dataset.py', ROOT / 'configs/custom/det.py',
            '--no-trial', '--nproc', 1, '--cfg-options', f'data_root={out}',
            cwd=tmp_path,
        )  # fmt: skip
    assert stop.value.code == 0, capsys.readouterr().out


@pytest.mark.parametrize('form', ['yolo', 'labelme', 'via'])
def test_polygons_stay_polygons(form, tmp_path):
    WRITERS[form](tmp_path)
    to_coco(tmp_path, form)
    _, annotations, _ = read(tmp_path)
    (polygon,) = annotations[0]['segmentation']
    assert np.reshape(polygon, (-1, 2)) == pytest.approx(np.array(POLYGON))
    mask = COCO(tmp_path / 'train.json').annToMask(annotations[0])
    assert annotations[0]['area'] == mask.sum()
    assert 'segmentation' not in annotations[1]
    assert annotations[1]['bbox'] == pytest.approx(AROUND)


def test_masks_are_kept_to_the_pixel(tmp_path):
    write_mask_folder(tmp_path)
    to_coco(tmp_path, 'mask-folder')
    coco = COCO(tmp_path / 'train.json')
    for annotation in coco.anns.values():
        assert (coco.annToMask(annotation) == (disk() > 0)).all()
        assert annotation['area'] == 96


def test_numbered_masks(tmp_path):
    pixels = np.zeros((H, W), np.uint16)
    pixels[:5, :5], pixels[9:12, 7:20] = 3, 300
    for number in range(2):
        save_picture(tmp_path / 'images' / f'{number}.jpg')
        file = tmp_path / 'masks' / f'{number}.png'
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(file)
    to_coco(tmp_path, 'mask-folder', classes=['cell'])
    _, annotations, categories = read(tmp_path)
    assert [a['bbox'] for a in annotations] == [[0, 0, 5, 5], [7, 9, 13, 3]]
    assert categories == [dict(id=1, name='cell')]


# ------------------------------------------------------------------- forms


def test_pixels_of_voc_are_counted_from_one(tmp_path):
    write_voc(tmp_path, 1)
    file = tmp_path / 'Annotations' / '0.xml'
    for box, expected in [
        ((1, 1, W, H), [0, 0, W, H]),
        ((0, 0, W, H), [0, 0, W, H]),
        ((0, 3, 5, 7), [0, 3, 5, 4]),
    ]:
        file.write_text(xml([('cat', box, 0)]))
        to_coco(tmp_path, 'voc', val_fraction=0, overwrite=True)
        assert read(tmp_path)[1][0]['bbox'] == expected


def test_difficult_objects_become_crowd(tmp_path):
    write_voc(tmp_path, difficult=1)
    to_coco(tmp_path, 'voc', val_fraction=0)
    crowd = {a['category_id']: a['iscrowd'] for a in read(tmp_path)[1]}
    assert crowd == {1: 0, 2: 1}


@pytest.mark.parametrize(
    'lists, expected',
    [
        (dict(train='0 1', val='2'), dict(train=2, val=1)),
        (dict(train='0', val='1', test='2 3'), dict(train=1, val=1, test=2)),
        (dict(trainval='0 1', test='2'), dict(train=2, val=1)),
        (dict(trainval='0 1 2 3', train='0 1', val='2 3'),
         dict(train=2, val=2)),
    ],
)  # fmt: skip
def test_lists_of_voc(lists, expected, tmp_path):
    write_voc(tmp_path)
    folder = tmp_path / 'ImageSets' / 'Main'
    folder.mkdir(parents=True)
    for name, stems in lists.items():
        (folder / f'{name}.txt').write_text('\n'.join(stems.split()))
    overview, _, _ = to_coco(tmp_path, 'voc')
    assert overview == expected


def test_yaml_of_yolo_tells_the_splits(tmp_path):
    write_yolo(tmp_path)
    for split, numbers in (('train', '01'), ('valid', '23')):
        for kind in ('images', 'labels'):
            (tmp_path / split / kind).mkdir(parents=True)
            for file in (tmp_path / kind).iterdir():
                if file.stem in numbers:
                    file.rename(tmp_path / split / kind / file.name)
    (tmp_path / 'data.yaml').write_text(
        'names: [cat, dog]\ntrain: ../train/images\nval: ../valid/images\n'
    )
    overview, problems, _ = to_coco(tmp_path, 'yolo')
    assert overview == dict(train=2, val=2) and not problems
    (tmp_path / 'data.yaml').write_text('names: [cat]\ntrain: nowhere\n')
    with pytest.raises(ConfigError, match='nowhere.*not found'):
        to_coco(tmp_path, 'yolo', overwrite=True)


def test_names_of_yolo(tmp_path):
    write_yolo(tmp_path)
    (tmp_path / 'data.yaml').unlink()
    to_coco(tmp_path, 'yolo')
    assert [c['name'] for c in read(tmp_path)[2]] == ['class_0', 'class_1']
    (tmp_path / 'classes.txt').write_text('zebra\nape\n')
    to_coco(tmp_path, 'yolo', overwrite=True)
    assert [c['name'] for c in read(tmp_path)[2]] == ['zebra', 'ape']


def test_shapes_of_labelme(tmp_path):
    save_picture(tmp_path / '0.jpg')
    png = io.BytesIO()
    Image.fromarray(np.full((4, 6), 255, np.uint8)).save(png, 'PNG')
    mask = base64.b64encode(png.getvalue()).decode()
    triangle = [(1, 1), (5, 1), (1, 5)]
    shapes = [
        dict(label='a', points=POLYGON, group_id=1),
        dict(label='a', points=triangle, group_id=1),
        dict(label='a', points=triangle, group_id=None),
        dict(label='a', points=[(20, 15), (20, 20)], shape_type='circle'),
        dict(label='a', points=[(30, 2), (35, 5)], shape_type='mask',
             mask=mask),
        dict(label='a', points=[(1, 1)], shape_type='point'),
    ]  # fmt: skip
    (tmp_path / '0.json').write_text(labelme(shapes, '0.jpg'))
    _, problems, _ = to_coco(tmp_path, 'labelme', val_fraction=0)
    _, annotations, _ = read(tmp_path)
    assert len(annotations[0]['segmentation']) == 2
    boxes = [a['bbox'] for a in annotations]
    assert boxes[0] == [1, 1, 19, 14] and boxes[1] == [1, 1, 4, 4]
    assert boxes[2] == pytest.approx([15, 10, 10, 10])
    assert boxes[3] == [30, 2, 6, 4]
    assert annotations[2]['area'] == pytest.approx(np.pi * 25, rel=0.1)
    assert [(p.kind, p.what) for p in problems] == [
        ('no area', 'point of 1 points: left out')
    ]


def test_shapes_and_attributes_of_via(tmp_path):
    save_picture(tmp_path / '0.jpg')
    shapes = [
        (dict(name='circle', cx=20, cy=15, r=5), {'kind': 'a'}),
        (dict(name='ellipse', cx=20, cy=15, rx=8, ry=4, theta=np.pi / 2),
         {'kind': {'b': True, 'c': False}}),
        (dict(name='point', cx=1, cy=1), {'kind': 'a'}),
        (dict(name='rect', x=1, y=1, width=2, height=2), {'kind': ''}),
        (dict(name='rect', x=1, y=1, width=2, height=2),
         {'kind': 'a', 'sure': 'no'}),
    ]  # fmt: skip
    regions = {
        str(i): dict(shape_attributes=shape, region_attributes=attributes)
        for i, (shape, attributes) in enumerate(shapes)
    }
    entry = dict(filename='0.jpg', size=1, regions=regions)
    file = tmp_path / 'via_export.json'
    file.write_text(json.dumps({'0.jpg1': entry}))
    _, problems, said = to_coco(file, 'via', val_fraction=0)
    _, annotations, categories = read(tmp_path)
    assert [c['name'] for c in categories] == ['a', 'b']
    assert annotations[0]['bbox'] == pytest.approx([15, 10, 10, 10])
    assert annotations[1]['bbox'] == pytest.approx([16, 7, 8, 16])
    assert len(annotations) == 3
    assert sorted(p.kind for p in problems) == ['no area', 'no class']
    assert "the attribute 'kind' is the class, and not sure" in said
    options = dict(val_fraction=0, overwrite=True)
    to_coco(file, 'via', class_attribute='sure', **options)
    assert [c['name'] for c in read(tmp_path)[2]] == ['no']
    with pytest.raises(ConfigError, match="'x': the regions have kind, sure"):
        to_coco(file, 'via', class_attribute='x', **options)


# ------------------------------------------------------------------- faults


def test_faults_are_listed(tmp_path):
    write_voc(tmp_path, 8)
    for number, objects in enumerate(
        [
            [('cat', (11, 6, 10, 15), 0)],
            [('cat', (11, 6, 60, 15), 0)],
            [('cow', (11, 6, 20, 15), 0)],
            [],
        ]
    ):
        file = tmp_path / 'Annotations' / f'{number}.xml'
        file.write_text(xml(objects))
    (tmp_path / 'JPEGImages' / '4.jpg').unlink()
    (tmp_path / 'JPEGImages' / '5.jpg').write_bytes(b'torn')
    save_picture(tmp_path / 'JPEGImages' / '6.jpg', (W, H + 5))
    (tmp_path / 'Annotations' / '7.xml').write_text('<annotation>')
    overview, problems, _ = to_coco(
        tmp_path, 'voc', classes=['cat', 'dog'], val_fraction=0
    )
    found = {(p.kind, p.where.split('/')[-1]) for p in problems}
    assert found == {
        ('no area', '0.jpg'),
        ('outside', '1.jpg'),
        ('unknown class', '2.jpg'),
        ('missing picture', 'x.jpg'),  # the name that the file tells
        ('cannot be read', '5.jpg'),
        ('another size', '6.jpg'),
        ('cannot be read', '7.xml'),
        ('no annotation', '7.jpg'),
    }
    images, annotations, _ = read(tmp_path)
    assert len(images) == overview['train'] == 4  # one has no object
    assert [a['bbox'] for a in annotations] == [[10, 5, 30, 10]]


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('form', ['voc', 'mask-folder'])
def test_pictures_that_exif_turns(form, orientation, tmp_path):
    """Objects follow if the annotated size is that of the raw picture."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    WRITERS[form](tmp_path, 1)
    picture = next(f for f in tmp_path.rglob('0.*g') if 'masks' not in str(f))
    save_picture(picture, exif=exif)
    _, problems, _ = to_coco(tmp_path, form, val_fraction=0)
    (image,), (cat, *_), _ = read(tmp_path)
    mask = Image.fromarray(disk())
    mask.getexif()[ExifTags.Base.Orientation] = orientation
    upright = ImageOps.exif_transpose(mask)
    assert (image['width'], image['height']) == (
        upright.size if orientation >= 5 else (W, H)
    )
    assert [p.kind for p in problems] == ['turned by EXIF'] * (orientation > 1)
    if orientation >= 5:  # else the sizes do not tell
        left, top, right, bottom = upright.getbbox()
        assert cat['bbox'] == [left, top, right - left, bottom - top]
        if form == 'mask-folder':
            decoded = COCO(tmp_path / 'train.json').annToMask(cat)
            assert (decoded == (np.asarray(upright) > 0)).all()
    else:
        assert cat['bbox'] == AROUND


def test_the_same_picture_twice(tmp_path):
    write_via(tmp_path, 2)
    content = json.loads((tmp_path / 'via.json').read_text())
    (tmp_path / 'again.json').write_text(json.dumps(content))
    _, problems, _ = to_coco(tmp_path, 'via', val_fraction=0)
    assert [p.kind for p in problems] == ['twice', 'twice']
    assert len(read(tmp_path)[0]) == 2


# ---------------------------------------------------------------- arguments


def test_lists_and_seeds(tmp_path):
    write_voc(tmp_path, 6)
    for name, stems in (('a', '0\n1.jpg\n9'), ('b', '2')):
        (tmp_path / name).write_text(stems)
    lists = dict(train=tmp_path / 'a', val=tmp_path / 'b')
    overview, problems, _ = to_coco(tmp_path, 'voc', lists=lists)
    assert overview == dict(train=2, val=1)
    assert [(p.kind, p.where) for p in problems] == [('missing picture', '9')]
    chosen = []
    for seed in (0, 0, 1):
        to_coco(tmp_path, 'voc', seed=seed, overwrite=True)
        chosen.append([i['file_name'] for i in read(tmp_path, 'val')[0]])
    assert chosen[0] == chosen[1] != chosen[2]


def test_pictures_from_elsewhere_are_linked(tmp_path, monkeypatch):
    source = tmp_path / 'source' / 'JPEGImages'
    write_voc(tmp_path / 'source')
    to_coco(tmp_path / 'source', 'voc', tmp_path)  # it contains them
    assert read(tmp_path)[0][0]['file_name'].startswith('source/JPEGImages/')
    to_coco(tmp_path / 'source', 'voc', tmp_path / 'a')

    def link(*args):
        raise OSError('another disk')

    monkeypatch.setattr('os.link', link)
    to_coco(tmp_path / 'source', 'voc', tmp_path / 'b')
    for out in (tmp_path / 'a', tmp_path / 'b'):
        for image in read(out)[0]:
            file = out / image['file_name']
            assert file.parent == out / 'images' / 'JPEGImages'
            original = source / file.name
            assert file.read_bytes() == original.read_bytes()
            assert file.samefile(original) == (out.name == 'a')


def test_what_cannot_be_converted(tmp_path):
    with pytest.raises(ConfigError, match="none' does not exist"):
        to_coco(tmp_path / 'none', 'voc')
    write_labelme(tmp_path)
    with pytest.raises(ConfigError, match='form voc; it looks like.*labelme'):
        to_coco(tmp_path, 'voc')
    with pytest.raises(ConfigError, match='no object of the classes a: it ha'):
        to_coco(tmp_path, 'labelme', classes=['a'])
    with pytest.raises(ConfigError, match='--class-attribute is for'):
        to_coco(tmp_path, 'labelme', class_attribute='a')
    to_coco(tmp_path, 'labelme')
    before = (tmp_path / 'train.json').read_bytes()
    with pytest.raises(ConfigError, match='would be overwritten'):
        to_coco(tmp_path, 'labelme', seed=1)
    assert (tmp_path / 'train.json').read_bytes() == before


def test_statistics(tmp_path):
    write_voc(tmp_path)
    _, _, said = to_coco(tmp_path, 'voc', val_fraction=0.25)
    assert said[-2].startswith('train: 3 pictures (40x30; 0 without objects)')
    assert '(0 with masks; ' in said[-1]
