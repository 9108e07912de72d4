# Copyright (c) mmfft authors. All rights reserved.
import json

import numpy as np
import pytest
from conftest import ROOT
from PIL import ExifTags, Image, ImageOps

from mmfft.datasets.converters.label_images import read_palette, to_index_masks
from mmfft.datasets.converters.splits import read_list, split
from mmfft.errors import ConfigError

RED, GREEN, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 0)


@pytest.fixture
def source(tmp_path):
    """A function that writes pictures and label images into a folder."""

    def write(labels, count=5, suffix='.jpg', ending='', mode=None):
        rng = np.random.default_rng(0)
        for number in range(count):
            picture = rng.integers(0, 256, (6, 9, 3), np.uint8)
            pixels = np.asarray(labels, np.uint8)
            for folder, values, name in (
                ('images', picture, f'{number}{suffix}'),
                ('labels', pixels, f'{number}{ending}.png'),
            ):
                (tmp_path / folder).mkdir(exist_ok=True)
                image = Image.fromarray(values)
                if folder == 'labels' and mode:
                    image = image.convert(mode)
                image.save(tmp_path / folder / name)
        return tmp_path / 'images', tmp_path / 'labels', tmp_path / 'out'

    return write


def grey(*values):
    """Label images of 6x9 in which the values are columns, repeated."""
    row = np.resize(np.array(values), 9)
    return np.repeat(row[None], 6, axis=0)


def colours(*values):
    rows = [values[i % len(values)] for i in range(9)]
    return np.repeat(np.array(rows)[None], 6, axis=0)


def written(out):
    files = sorted(out.glob('ann_dir/*/*.png'))
    return np.unique(np.stack([np.asarray(Image.open(f)) for f in files]))


def names_in(out):
    return (out / 'classes.txt').read_text().splitlines()


def test_layout_and_counts(source):
    images, labels, out = source(grey(0, 1, 2), 5)
    overview, problems, _ = to_index_masks(images, labels, out)
    assert not problems
    assert overview == dict(train=4, val=1)
    for split_, count in overview.items():
        pictures = sorted((out / 'img_dir' / split_).iterdir())
        found = sorted((out / 'ann_dir' / split_).iterdir())
        assert len(pictures) == len(found) == count
        assert [p.stem for p in pictures] == [p.stem for p in found]
        for picture in pictures:
            assert picture.samefile(images / picture.name)  # no copy
        assert overview.classes[split_]['class_1'] == 18 * count
    assert written(out).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    'labels, options, values, names',
    [
        (grey(0, 255), {}, [0, 1], ['background', 'object']),
        (grey(0, 255), dict(classes=['no', 'yes']), [0, 1], ['no', 'yes']),
        (grey(0, 1, 255), {}, [0, 1, 255], ['class_0', 'class_1']),
        (grey(0, 2), {}, [0, 2], ['class_0', 'class_1', 'class_2']),
        (grey(10, 100, 200), {}, [0, 1, 2], [
            'value_10', 'value_100', 'value_200',
        ]),
        (grey(0, 1), dict(classes=list('abc')), [0, 1], list('abc')),
        (colours(RED, RED, GREEN), {}, [0, 1], [
            'color_ff0000', 'color_00ff00',
        ]),
        (colours(RED, RED, GREEN), dict(void=['#00ff00']), [0, 255], [
            'color_ff0000',
        ]),
        (colours((7, 7, 7), (9, 9, 9)), {}, [7, 9], [
            f'class_{i}' for i in range(10)
        ]),
        (grey(0, 3), dict(void=['3']), [0, 255], [
            'class_0', 'class_1', 'class_2',
        ]),
    ],
)  # fmt: skip
def test_what_values_become(labels, options, values, names, source):
    images, labels, out = source(labels)
    to_index_masks(images, labels, out, **options)
    assert written(out).tolist() == values
    assert names_in(out) == names


@pytest.mark.parametrize(
    'text',
    [
        '255 0 0 road\n0,255,0, tree top\n# a comment\n0\t0\t0\tvoid\n',
        '#ff0000 road\n#00FF00 tree top\n\n#000000 void',
        '# label:color_rgb:parts:actions\nroad:255,0,0::\n'
        'tree top:0,255,0::\nvoid:0,0,0::\n',
        json.dumps({'road': RED, 'tree top': '#00ff00', 'void': BLACK}),
    ],
)
def test_palettes(text, source, tmp_path):
    palette = tmp_path / 'palette.txt'
    palette.write_text(text)
    assert read_palette(palette) == [
        (RED, 'road'),
        (GREEN, 'tree top'),
        (BLACK, 'void'),
    ]
    images, labels, out = source(colours(GREEN, RED, BLACK))
    overview, _, _ = to_index_masks(
        images, labels, out, palette, void=['void']
    )
    assert written(out).tolist() == [0, 1, 255]
    assert names_in(out) == ['road', 'tree top']
    assert overview.classes['val']['(void)'] == 18


@pytest.mark.parametrize(
    'text, reason',
    [
        ('', 'is empty'),
        ('1 2 3', "neither 'R G B name'"),
        ('1 2 300 a', 'not a colour'),
        ('1 2 3 a\n1 2 3 b', r'colour \(1, 2, 3\) twice'),
        ('1 2 3 a\n1 2 4 a', 'name a twice'),
        ('{"a": [1, 2]}', 'not a colour'),
        ('{', 'palette'),
    ],
)
def test_palettes_that_are_none(text, reason, tmp_path):
    (tmp_path / 'p').write_text(text)
    with pytest.raises(ConfigError, match=reason):
        read_palette(tmp_path / 'p')


def test_colours_that_are_not_in_the_palette(source, tmp_path):
    (tmp_path / 'p.txt').write_text('255 0 0 road')
    images, labels, out = source(colours(RED, GREEN, BLACK))
    with pytest.raises(ConfigError, match=r'2 colours.*0 0 0 \(90 pixels\)'):
        to_index_masks(images, labels, out, tmp_path / 'p.txt')
    assert not out.exists()
    _, _, said = to_index_masks(
        images, labels, out, tmp_path / 'p.txt', unknown_is_void=True
    )
    assert '180 pixels of unknown colours' in said
    assert written(out).tolist() == [0, 255]


@pytest.mark.parametrize('mode', ['P', '1', 'I;16', 'RGBA'])
def test_modes_of_pictures(mode, source):
    labels = grey(0, 255) if mode == '1' else grey(0, 3)
    if mode == 'RGBA':
        labels = np.repeat(labels[..., None], 3, axis=2)
    images, labels, out = source(labels, mode=mode)
    to_index_masks(images, labels, out)
    assert written(out).tolist() == ([0, 1] if mode == '1' else [0, 3])


def test_blurred_values(source):
    images, labels, out = source(np.arange(54).reshape(6, 9) * 4)
    for file in labels.iterdir():
        pixels = np.asarray(Image.open(file)) + int(file.stem)
        Image.fromarray(pixels).save(file)
    with pytest.raises(ConfigError, match='217 different values.*JPEG'):
        to_index_masks(images, labels, out)


@pytest.mark.parametrize('ending', ['_mask', '_L', '_gt'])
def test_endings_of_names(ending, source):
    images, labels, out = source(grey(0, 1), ending=ending)
    overview, problems, _ = to_index_masks(images, labels, out)
    assert sum(overview.values()) == 5 and not problems


def test_what_is_left_out(source):
    images, labels, out = source(grey(0, 1), 8)
    (labels / '0.png').unlink()
    (images / '1.jpg').unlink()
    Image.new('RGB', (5, 5)).save(images / '2.jpg')
    (images / '3.jpg').write_bytes(b'no picture')
    (labels / '4.png').write_bytes(b'')
    Image.new('RGB', (9, 6)).save(images / '5.png')  # beside 5.jpg
    overview, problems, _ = to_index_masks(images, labels, out)
    assert sum(overview.values()) == 3
    assert sorted((p.kind, p.where.split('/')[-1]) for p in problems) == [
        ('another size', '2.jpg'),
        ('cannot be read', '3.jpg'),
        ('cannot be read', '4.jpg'),
        ('no label image', '0.jpg'),
        ('no picture', '1.png'),
        ('same name', '5.png'),
    ]


def test_a_picture_that_exif_turns(source):
    """Training turns the pictures; sizes tell whether labels are upright."""
    images, labels, out = source(grey(0, 1), 4)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    for name, size in (('0', (6, 9)), ('1', (9, 6))):
        Image.new('RGB', size).save(images / f'{name}.jpg', exif=exif)
    overview, problems, _ = to_index_masks(images, labels, out)
    assert [p.where.split('/')[-1] for p in problems] == ['1.jpg']
    assert sum(overview.values()) == 4


def test_pictures_with_several_endings(source):
    images, labels, out = source(grey(0, 1), 4)
    Image.open(images / '3.jpg').convert('RGBA').save(images / '3.png')
    (images / '3.jpg').unlink()
    _, _, said = to_index_masks(images, labels, out, val_fraction=0)
    assert any('1 pictures do not end with .jpg' in line for line in said)
    with Image.open(out / 'img_dir/train/3.jpg') as picture:
        assert picture.format == 'JPEG'


def test_splits(source, tmp_path):
    images, labels, out = source(grey(0, 1), 4)
    for name, stems in (('a', '0 1'), ('b', '3.jpg')):
        (tmp_path / name).write_text('\n'.join(stems.split()))
    lists = dict(train=tmp_path / 'a', val=tmp_path / 'b')
    overview, _, _ = to_index_masks(images, labels, out, lists=lists)
    assert overview == dict(train=2, val=1)
    (tmp_path / 'b').write_text('9\n')
    with pytest.raises(ConfigError, match="1 names of the lists.*'9'"):
        to_index_masks(images, labels, tmp_path / 'x', lists=lists)
    for folder in (images, labels):
        for name in ('train', 'val'):
            (folder / name).mkdir()
        for file in list(folder.glob('*.*')):
            file.rename(folder / ('train' if file.stem < '3' else 'val')
                        / file.name)  # fmt: skip
    overview, _, _ = to_index_masks(images, labels, tmp_path / 'y')
    assert overview == dict(train=3, val=1)


@pytest.mark.parametrize(
    'options, reason',
    [
        (dict(classes=['a']), r'--classes has 1 names.*2 classes'),
        (dict(void=['sky']), "--void 'sky' is neither a class"),
        (dict(val_fraction=2), '--val-fraction 2 must be from 0 to 1'),
        (dict(palette='none.txt'), "palette 'none.txt' cannot be read"),
        (dict(lists=dict(val='none.txt')), "list 'none.txt' cannot be read"),
    ],
)
def test_wrong_arguments(options, reason, source):
    images, labels, out = source(colours(RED, GREEN))
    with pytest.raises(ConfigError, match=reason):
        to_index_masks(images, labels, out, **options)
    assert not out.exists()


def test_nothing_is_overwritten(source, tmp_path):
    images, labels, out = source(grey(0, 1))
    out.mkdir()
    (out / 'mine').touch()
    with pytest.raises(ConfigError, match='not an empty folder'):
        to_index_masks(images, labels, out)
    with pytest.raises(ConfigError, match="none' is not a folder"):
        to_index_masks(images, tmp_path / 'none', tmp_path / 'new')


def test_output_passes_the_check(source, call_tool, tmp_path, capsys):
    images, labels, out = source(colours(RED, GREEN, BLACK), 6)
    call_tool(
        'dataset_converters/to_index_masks.py', images, labels, '--out', out,
        '--void', '#000000', '--classes', 'road', 'tree', cwd=tmp_path,
    )  # fmt: skip
    assert 'written to' in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        call_tool(
            'misc/check_dataset.py', ROOT / 'configs/custom/seg.py',
            '--no-trial', '--nproc', 1, '--cfg-options', f'data_root={out}',
            'img_size=32', cwd=tmp_path,
        )  # fmt: skip
    assert stop.value.code == 0


def test_split_does_not_depend_on_the_order():
    names = [str(i) for i in range(20)]
    train, val = split(names, 0.25, 3)
    assert (train, val) == split(names[::-1], 0.25, 3)
    assert len(val) == 5 and sorted(train + val) == sorted(names)
    assert split(names, 0.25, 4)[1] != val
    for fraction, count in ((0.01, 1), (0.99, 19), (0, 0), (1, 20)):
        assert len(split(names, fraction, 0)[1]) == count
    assert split(['a'], 0.5, 0) == (['a'], [])


def test_lists(tmp_path):
    (tmp_path / 'a').write_text('x 1\n\ny.jpg -1\n')
    assert read_list(tmp_path / 'a') == ['x', 'y.jpg']
    (tmp_path / 'b').write_text('\n')
    with pytest.raises(ConfigError, match='is empty'):
        read_list(tmp_path / 'b')


@pytest.mark.parametrize('orientation', [3, 5, 6, 7, 8])
@pytest.mark.parametrize('is_raw', [True, False])
def test_labels_of_pictures_that_exif_turns(orientation, is_raw, source):
    values = grey(0, 1, 2).astype(np.uint8)
    values[0] = 3
    images, labels, out = source(values, 2)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    turned = Image.fromarray(values)
    turned.getexif()[ExifTags.Base.Orientation] = orientation
    turned = ImageOps.exif_transpose(turned)
    for number in range(2):
        Image.new('RGB', (9, 6)).save(images / f'{number}.jpg', exif=exif)
        if not is_raw:
            turned.save(labels / f'{number}.png')
    _, problems, _ = to_index_masks(images, labels, out)
    # With 180 degrees, sizes do not tell.
    expected = values if is_raw and orientation < 5 else np.asarray(turned)
    for file in out.glob('ann_dir/*/*.png'):
        assert (np.asarray(Image.open(file)) == expected).all()
    said = {'its labels are taken to be those of the upright picture'}
    if orientation >= 5:
        said = {'its labels are turned, too, as their size shows'}
        said = said if is_raw else set()
    assert {problem.what for problem in problems} == said


def test_colours_in_the_palette_of_a_png(source, tmp_path):
    images, labels, out = source(grey(0, 1, 2))
    for file in labels.iterdir():
        image = Image.fromarray(np.asarray(Image.open(file))).convert('P')
        image.putpalette([*BLACK, *RED, *GREEN])
        image.save(file)
    palette = tmp_path / 'palette.txt'
    palette.write_text('0 255 0 b\n255 0 0 a\n')
    to_index_masks(images, labels, out, palette, unknown_is_void=True)
    assert written(out).tolist() == [0, 1, 255]
    assert names_in(out) == ['b', 'a']


def test_lists_of_paths(source, tmp_path):
    images, labels, out = source(grey(0, 1), 3)
    (tmp_path / 'val').write_text('2.jpg\n')
    overview, _, _ = to_index_masks(
        images, labels, out, lists=dict(val=tmp_path / 'val')
    )
    assert overview == dict(train=2, val=1)
