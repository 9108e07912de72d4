# Copyright (c) mmfft authors. All rights reserved.
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mmfft.datasets import (
    CLASSES,
    DigitScenesConfig,
    content_hash,
    make_digit_scenes,
)
from mmfft.datasets.digit_scenes import Source, paint, write

for package in ('rich', 'skimage', 'sklearn'):
    pytest.importorskip(package)
Image = pytest.importorskip('PIL.Image')
COCO = pytest.importorskip('pycocotools.coco').COCO
ndimage = pytest.importorskip('scipy.ndimage')

# pycocotools' own, on numpy 2, in each mask that it decodes.
pytestmark = pytest.mark.filterwarnings(
    'ignore:__array__ implementation:DeprecationWarning'
)

TOOL = Path(__file__).parents[2] / 'tools/dataset_converters/digit_scenes.py'
SMALL = DigitScenesConfig(
    train_scenes=60, val_scenes=30, train_crops=60, val_crops=30
)
TINY = DigitScenesConfig(
    train_scenes=3,
    val_scenes=2,
    train_crops=4,
    val_crops=2,
    scene_size=(64, 96),
    crop_size=16,
)
FOLDERS = (('train', 'training'), ('val', 'validation'))


def make(out_dir, config=TINY, workers=1, **kwargs):
    return make_digit_scenes(
        out_dir, config, workers=workers, progress=False, **kwargs
    )


def read(path):
    return np.asarray(Image.open(path))


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp('data') / 'digit_scenes'
    return root, make(root, SMALL)


@pytest.fixture(scope='module')
def source():
    return Source.load()


@pytest.fixture(scope='module')
def cocos(made):
    root, _ = made
    return {
        folder: COCO(root / f'scenes/annotations/instances_{folder}.json')
        for _, folder in FOLDERS
    }


def scenes(root, cocos):
    """Yield each scene: its image, its labels and its annotations."""
    base = root / 'scenes'
    for folder, coco in cocos.items():
        for image_id, info in coco.imgs.items():
            anns = coco.loadAnns(coco.getAnnIds(image_id))
            yield (
                info,
                read(base / 'images' / folder / info['file_name']),
                read(base / 'annotations' / folder / info['file_name']),
                [(ann, coco.annToMask(ann).astype(bool)) for ann in anns],
            )


# ------------------------------------------------------------ the content


def test_counts_and_layout(made):
    root, manifest = made
    assert {p.name for p in root.iterdir()} == {
        'meta.json',
        'crops',
        'scenes',
    }
    for split, folder in FOLDERS:
        crops = sorted((root / 'crops' / split).glob('?/*.png'))
        assert len(crops) == getattr(SMALL, f'{split}_crops')
        assert {p.name for p in (root / 'crops' / split).iterdir()} == set(
            CLASSES
        )
        assert all(read(p).shape == (64, 64, 3) for p in crops)
        number = getattr(SMALL, f'{split}_scenes')
        for part, shape in (
            ('images', (192, 256, 3)),
            ('annotations', (192, 256)),
        ):
            files = sorted((root / 'scenes' / part / folder).iterdir())
            assert [p.name for p in files] == [
                f'{i:06d}.png' for i in range(1, number + 1)
            ]
            assert all(read(p).shape == shape for p in files)
            assert all(read(p).dtype == np.uint8 for p in files)
        assert manifest['counts'][split]['scenes'] == number


def test_manifest(made):
    root, manifest = made
    stored = json.loads((root / 'meta.json').read_text())
    assert dict(stored, created=True) == manifest
    assert stored['config'] == SMALL.as_json()
    assert stored['sha256'] == content_hash(root)
    sources = stored['sources']
    assert sources['digits']['license'] == 'CC BY 4.0'
    assert all(
        photo['license'] and photo['author']
        for photo in sources['photos'].values()
    )


def test_content_hash_notices_a_change(tmp_path):
    sha256 = make(tmp_path / 'a')['sha256']
    path = next((tmp_path / 'a' / 'crops').rglob('*.png'))
    path.write_bytes(path.read_bytes() + b'x')
    assert content_hash(tmp_path / 'a') != sha256


def test_the_split_leaks_nothing(made, cocos):
    root, manifest = made
    digits, photos = {}, {}
    for split, folder in FOLDERS:
        crops = json.loads((root / 'crops' / f'{split}.json').read_text())
        coco = cocos[folder]
        digits[split] = {crop['digit_index'] for crop in crops}
        digits[split] |= {a['digit_index'] for a in coco.anns.values()}
        photos[split] = {crop['photo'] for crop in crops}
        photos[split] |= {info['photo'] for info in coco.imgs.values()}
        listed = manifest['split'][split]
        assert digits[split] <= set(listed['digits'])
        assert photos[split] == set(listed['photos'])
    assert not digits['train'] & digits['val']
    assert not photos['train'] & photos['val']
    train, val = (set(manifest['split'][s]['digits']) for s, _ in FOLDERS)
    assert not train & val
    assert train | val == set(range(1797))


def test_the_split_is_stratified_and_the_files_differ(source):
    shares = [
        (source.labels[source.digits['val']] == label).sum()
        / (source.labels == label).sum()
        for label in range(10)
    ]
    assert np.allclose(shares, 0.2, atol=0.01)
    # Two names must not stand for one file.
    assert len(set(source.files.values())) == len(source.files)


def test_labels_are_those_of_the_digits(made, cocos, source):
    root, _ = made
    for split, folder in FOLDERS:
        for crop in json.loads((root / f'crops/{split}.json').read_text()):
            assert source.labels[crop['digit_index']] == crop['label']
            assert crop['file_name'].startswith(f'{crop["label"]}/')
            assert (root / 'crops' / split / crop['file_name']).is_file()
        coco = cocos[folder]
        names = {c['id']: c['name'] for c in coco.dataset['categories']}
        assert names == dict(enumerate(CLASSES, 1))
        for ann in coco.anns.values():
            label = source.labels[ann['digit_index']]
            assert names[ann['category_id']] == str(label)


def test_boxes_masks_and_label_images_agree(made, cocos):
    root, _ = made
    number = 0
    for _, _, labels, anns in scenes(root, cocos):
        union = np.zeros(labels.shape, dtype=np.uint8)
        for ann, mask in anns:
            rows, cols = np.nonzero(mask)
            left, top = cols.min(), rows.min()
            assert ann['bbox'] == [
                left,
                top,
                cols.max() - left + 1,
                rows.max() - top + 1,
            ]
            assert ann['area'] == mask.sum()
            assert ann['iscrowd'] == 0
            assert isinstance(ann['segmentation']['counts'], str)
            assert not union[mask].any(), 'two masks share a pixel'
            union[mask] = ann['category_id']
            number += 1
        assert np.array_equal(union, labels)
    assert number > 100


def test_the_masks_cover_the_digits(source):
    """What painting changed in the picture is what the masks say."""
    for index in range(12):
        canvas = paint.Canvas(np.full((192, 256, 3), 90, np.float32))
        rng = np.random.default_rng(index)
        alpha = paint.draw_glyph(rng, source.glyphs[index], 50)
        assert canvas.paint(rng, alpha, 100, 100)
        changed = np.abs(canvas.image - 90).sum(axis=2) > 0
        mask = canvas.owner > 0
        assert mask.sum() == canvas.areas[0] == (alpha > 0.5).sum()
        assert changed[mask].all()
        # Beyond the mask there is nothing but the soft edge.
        assert not changed[~ndimage.binary_dilation(mask, iterations=2)].any()


def test_scenes_vary(made, cocos):
    root, manifest = made
    per_scene, heights, at_border, touching = [], [], 0, 0
    for _, _, labels, anns in scenes(root, cocos):
        per_scene.append(len(anns))
        heights += [ann['bbox'][3] for ann, _ in anns]
        for i, (_, mask) in enumerate(anns):
            edge = np.ones_like(mask)
            edge[1:-1, 1:-1] = False
            at_border += bool((mask & edge).any())
            near = ndimage.binary_dilation(mask)
            touching += any((near & other).any() for _, other in anns[:i])
        assert labels.max() <= 10
    assert set(per_scene) == set(range(paint.MAX_DIGITS + 1))
    low, high = paint.DIGIT_SIZES
    assert min(heights) < low + 4 and high - 8 < max(heights) < 1.35 * high
    assert 0.02 * len(heights) < at_border < 0.3 * len(heights)
    assert touching > 0
    assert 0 < per_scene.count(0) < 0.15 * len(per_scene)
    assert per_scene.count(0) == sum(
        counts['empty_scenes'] for counts in manifest['counts'].values()
    )


def test_digits_stay_recognisable(source):
    """Enough of each digit is seen, cut and covered ones included."""
    config = DigitScenesConfig(scene_size=(96, 96))
    cut = 0
    for index in range(40):
        rng = np.random.default_rng(index)
        canvas = paint.Canvas(np.full((96, 96, 3), 128, np.float32))
        for digit in rng.integers(0, 1797, 60):
            alpha = paint.draw_glyph(rng, source.glyphs[digit], 30)
            top, left = rng.integers(-30, config.scene_size[0], 2)
            canvas.paint(rng, alpha, top, left)
        seen = [canvas.visible(i) for i in range(len(canvas.areas))]
        assert len(seen) > 1
        assert min(seen) >= paint.MIN_VISIBLE
        cut += sum(share < 1 for share in seen)
    assert cut > 10


def test_digits_stand_out(made, cocos):
    root, _ = made
    contrasts = []
    for _, image, labels, anns in scenes(root, cocos):
        luma = image @ np.array([0.299, 0.587, 0.114])
        for _, mask in anns:
            around = ndimage.binary_dilation(mask, iterations=4)
            # Neither the soft edge nor other digits.
            around &= ~ndimage.binary_dilation(labels > 0, iterations=1)
            if around.sum() > 30:
                contrasts.append(
                    abs(np.median(luma[mask]) - luma[around].mean())
                )
    assert len(contrasts) > 100
    assert min(contrasts) > 30
    assert np.percentile(contrasts, 5) > paint.MIN_CONTRAST - 10


def test_colour_keeps_its_distance():
    rng = np.random.default_rng(0)
    luma = np.array([0.299, 0.587, 0.114], np.float32)
    for mean in (0, 60, 128, 200, 255):
        around = np.clip(rng.normal(mean, 15, (200, 3)), 0, 255)
        around = around.astype(np.float32)
        for _ in range(20):
            colour = paint.pick_colour(rng, around)
            assert colour.min() >= 0 and colour.max() <= 255
            distance = abs(colour @ luma - (around @ luma).mean())
            assert distance >= paint.MIN_CONTRAST - 0.01
    # Black beside white: no luminance is away from both and their middle.
    mixed = np.repeat([[0.0] * 3, [255.0] * 3], 50, axis=0)
    assert paint.pick_colour(rng, mixed.astype(np.float32)) is None


def test_crops_show_one_digit_whole(made):
    root, _ = made
    for split, _ in FOLDERS:
        for crop in json.loads((root / f'crops/{split}.json').read_text()):
            left, top, width, height = crop['bbox']
            assert min(left, top) >= 0
            assert max(left + width, top + height) <= SMALL.crop_size
            share = max(width, height) / SMALL.crop_size
            assert 0.55 < share <= 0.95


def test_glyphs_keep_their_size_and_way_up(source):
    for digit in range(0, 1797, 60):
        rng = np.random.default_rng(digit)
        alpha = paint.draw_glyph(rng, source.glyphs[digit], 60)
        assert 45 < max(alpha.shape) < 90
        assert alpha.min() >= 0 and alpha.max() == pytest.approx(1)


# --------------------------------------------------------- the determinism


def test_workers_do_not_matter(tmp_path, monkeypatch):
    config = DigitScenesConfig(
        train_scenes=6,
        val_scenes=3,
        train_crops=130,
        val_crops=20,
        scene_size=(64, 96),
        crop_size=24,
    )
    started = []
    executor = write.ProcessPoolExecutor
    monkeypatch.setattr(
        write,
        'ProcessPoolExecutor',
        lambda workers, **kwargs: (
            started.append(workers) or executor(workers, **kwargs)
        ),
    )
    one = make(tmp_path / 'one', config, workers=1)
    two = make(tmp_path / 'two', config, workers=2)
    assert started == [2]
    assert one == two
    assert content_hash(tmp_path / 'one') == content_hash(tmp_path / 'two')


def test_a_picture_does_not_depend_on_the_others(source):
    few = DigitScenesConfig(train_scenes=1)
    first, _, _ = paint.make_scene(source, few, 'train', 7)
    paint.make_scene(source, SMALL, 'val', 3)
    again, _, _ = paint.make_scene(source, SMALL, 'train', 7)
    other, _, _ = paint.make_scene(source, SMALL, 'train', 8)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_seed_changes_the_pictures_not_the_split(tmp_path):
    one = make(tmp_path / 'one')
    config = DigitScenesConfig(**dict(TINY.as_json(), seed=1))
    two = make(tmp_path / 'two', config)
    assert one['sha256'] != two['sha256']
    assert one['split'] == two['split']


# ----------------------------------------------------- scenes of many sizes


SIZES = ((64, 96), (101, 75), (80, 80))


def test_scenes_take_their_sizes_in_turn(tmp_path):
    config = DigitScenesConfig(12, 5, 0, 0, scene_size=SIZES)
    manifest = make(tmp_path / 'a', config)
    assert manifest['config']['scene_size'] == [list(size) for size in SIZES]
    scenes = tmp_path / 'a' / 'scenes'
    orders = []
    for folder in ('training', 'validation'):
        coco = COCO(scenes / f'annotations/instances_{folder}.json')
        sizes = []
        for info in coco.imgs.values():
            size = (info['height'], info['width'])
            for part in ('images', 'annotations'):
                picture = read(scenes / part / folder / info['file_name'])
                assert picture.shape[:2] == size
            for annotation in coco.imgToAnns[info['id']]:
                assert tuple(annotation['segmentation']['size']) == size
            sizes.append(size)
        turns = [tuple(sizes[i : i + 3]) for i in range(0, len(sizes) - 2, 3)]
        assert all(sorted(turn) == sorted(SIZES) for turn in turns)
        orders += turns
    assert len(set(orders)) > 1, 'always the same order'
    # The manifest is compared with the config, so both have one form.
    assert not make(tmp_path / 'a', config)['created']
    again = DigitScenesConfig(**manifest['config'])
    assert again == config


def test_the_other_sizes_do_not_change_a_scene(source):
    mixed = DigitScenesConfig(scene_size=SIZES)
    seen = set()
    for index in range(3):
        image, owner, digits = paint.make_scene(source, mixed, 'val', index)
        seen.add(owner.shape)
        alone = DigitScenesConfig(scene_size=owner.shape)
        same_image, same_owner, same = paint.make_scene(
            source, alone, 'val', index
        )
        assert np.array_equal(image, same_image)
        assert np.array_equal(owner, same_owner) and digits == same
    assert seen == set(SIZES)


def test_the_seed_changes_the_order_of_the_sizes(source):
    def order(seed):
        config = DigitScenesConfig(scene_size=SIZES, seed=seed)
        return [
            paint.make_scene(source, config, 'val', index)[1].shape
            for index in range(6)
        ]

    assert order(0) == order(0) != order(1)


def test_a_list_of_one_size_is_that_size():
    one = DigitScenesConfig(scene_size=[[64, 96]])
    assert one == DigitScenesConfig(scene_size=(64, 96))
    assert one.as_json()['scene_size'] == [64, 96]


# ------------------------------------------------------------- the writing


def test_second_run_does_nothing(tmp_path, monkeypatch):
    first = make(tmp_path / 'a')
    before = (tmp_path / 'a').stat().st_ino
    monkeypatch.setattr(write, '_build', lambda *_: pytest.fail('made again'))
    second = make(tmp_path / 'a')
    assert first['created'] and not second['created']
    assert first['sha256'] == second['sha256']
    assert (tmp_path / 'a').stat().st_ino == before


def test_other_arguments_need_overwrite(tmp_path):
    make(tmp_path / 'a')
    other = DigitScenesConfig(**dict(TINY.as_json(), seed=5))
    with pytest.raises(FileExistsError, match="'seed': 0.*'seed': 5"):
        make(tmp_path / 'a', other)
    made = make(tmp_path / 'a', other, overwrite=True)
    assert made['created'] and made['config']['seed'] == 5
    assert content_hash(tmp_path / 'a') == made['sha256']
    assert [p.name for p in tmp_path.iterdir()] == ['a']


def test_missing_files_are_noticed(tmp_path):
    make(tmp_path / 'a')
    next((tmp_path / 'a' / 'crops').rglob('*.png')).unlink()
    with pytest.raises(FileExistsError, match='files, but its manifest'):
        make(tmp_path / 'a')
    assert make(tmp_path / 'a', overwrite=True)['created']


@pytest.mark.parametrize('overwrite', (False, True))
@pytest.mark.parametrize('content', (None, '{"name": "other"}', '[1]', '{'))
def test_a_foreign_folder_is_left_alone(tmp_path, content, overwrite):
    foreign = tmp_path / 'a'
    foreign.mkdir()
    (foreign / 'thesis.txt').write_text('years of work')
    if content is not None:
        (foreign / 'meta.json').write_text(content)
    with pytest.raises(FileExistsError, match='left alone'):
        make(foreign, overwrite=overwrite)
    assert (foreign / 'thesis.txt').read_text() == 'years of work'
    assert [p.name for p in tmp_path.iterdir()] == ['a']


def test_own_files_in_the_folder_are_not_overwritten(tmp_path):
    make(tmp_path / 'a')
    (tmp_path / 'a' / 'notes.txt').write_text('mine')
    with pytest.raises(FileExistsError, match='left alone'):
        make(tmp_path / 'a', overwrite=True)
    assert (tmp_path / 'a' / 'notes.txt').read_text() == 'mine'


def test_a_file_in_the_way(tmp_path):
    (tmp_path / 'a').write_text('mine')
    with pytest.raises(FileExistsError, match='not a folder'):
        make(tmp_path / 'a', overwrite=True)
    assert (tmp_path / 'a').read_text() == 'mine'


def test_an_empty_folder_and_a_link_are_filled(tmp_path):
    (tmp_path / 'disk').mkdir()
    (tmp_path / 'link').symlink_to(tmp_path / 'disk')
    made = make(tmp_path / 'link')
    assert (tmp_path / 'link').is_symlink()
    assert content_hash(tmp_path / 'disk') == made['sha256']


@pytest.mark.parametrize('error', (RuntimeError, KeyboardInterrupt))
def test_a_failure_midway_leaves_nothing(tmp_path, monkeypatch, error):
    seen = []

    def fail(source, config, split, index):
        seen.append(list(tmp_path.rglob('*.png')))
        if split == 'val':
            raise error('midway')
        return paint.make_scene(source, config, split, index)

    monkeypatch.setattr(write, 'make_scene', fail)
    with pytest.raises(error, match='midway'):
        make(tmp_path / 'a')
    assert seen[-1], 'it should have failed after some pictures'
    assert not list(tmp_path.iterdir())


def test_a_failed_overwrite_keeps_the_old(tmp_path, monkeypatch):
    sha256 = make(tmp_path / 'a')['sha256']
    rename = Path.rename

    def fail(self, target):
        if self.name.endswith('.new'):
            raise PermissionError('no')
        return rename(self, target)

    monkeypatch.setattr(Path, 'rename', fail)
    with pytest.raises(PermissionError):
        make(tmp_path / 'a', overwrite=True)
    assert content_hash(tmp_path / 'a') == sha256
    assert [p.name for p in tmp_path.iterdir()] == ['a']


def test_no_pictures_at_all(tmp_path):
    config = DigitScenesConfig(0, 0, 0, 0)
    assert make(tmp_path / 'a', config)['files'] == 4
    coco = COCO(tmp_path / 'a/scenes/annotations/instances_training.json')
    assert not coco.imgs and len(coco.cats) == 10


# ----------------------------------------------------------- the arguments


@pytest.mark.parametrize(
    ('name', 'value', 'right'),
    (
        ('train_scenes', -1, 'whole number from 0 up'),
        ('val_scenes', 1.5, 'whole number'),
        ('train_crops', True, 'whole number'),
        ('val_crops', '7', 'whole number'),
        ('crop_size', 15, 'from 16 up'),
        ('scene_size', (63, 256), 'from 64 up'),
        ('scene_size', 192, 'height, width'),
        ('scene_size', (192, 256, 3), 'height, width'),
        ('scene_size', (), 'height, width'),
        ('scene_size', ((192, 256), 5), 'height, width'),
        ('scene_size', ((192, 256), (64, 96, 3)), 'several such pairs'),
        ('seed', -3, 'from 0 up'),
    ),
)
def test_bad_config(name, value, right):
    with pytest.raises(ValueError, match=right) as error:
        DigitScenesConfig(**{name: value})
    shown = value[0] if value == (63, 256) else value
    assert name in str(error.value) and repr(shown) in str(error.value)


@pytest.mark.parametrize('workers', (0, -2, 1.0))
def test_bad_workers(tmp_path, workers):
    with pytest.raises(
        ValueError, match=f'workers must.*from 1 up, got {workers}'
    ):
        make(tmp_path / 'a', workers=workers)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('package', ('skimage', 'sklearn', 'pycocotools'))
def test_missing_package(tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=r'pip install "mmfft\[demo\]"'):
        make(tmp_path / 'a')
    assert not list(tmp_path.iterdir())


def test_importing_is_light():
    code = (
        'import sys, mmfft.datasets; '
        "heavy = {'sklearn', 'skimage', 'scipy', 'pycocotools', 'PIL'}; "
        'print(sorted(heavy & set(sys.modules)))'
    )
    out = subprocess.run(
        [sys.executable, '-c', code],
        capture_output=True,
        text=True,
        check=True,
        cwd=TOOL.parents[2],
    ).stdout
    assert out.strip().endswith('[]')


# -------------------------------------------------------- the command line


@pytest.fixture
def tool(monkeypatch):
    spec = importlib.util.spec_from_file_location('digit_scenes_tool', TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def run(*args):
        counts = '--train-scenes 2 --val-scenes 1 --train-crops 2 --val-crops'
        argv = ['tool', *counts.split(), '1', '--workers', '1', *args]
        monkeypatch.setattr(sys, 'argv', [str(a) for a in argv])
        return module.main()

    return run


def test_tool_makes_and_keeps(tool, tmp_path, capsys):
    args = ('--out-dir', tmp_path / 'a', '--scene-size', 64, 80, '--seed', 2)
    assert tool(*args) == 0
    assert 'made in' in capsys.readouterr().out
    image = tmp_path / 'a/scenes/images/training/000002.png'
    assert read(image).shape == (64, 80, 3)
    assert tool(*args) == 0
    assert 'already there' in capsys.readouterr().out
    assert tool(*args, '--crop-size', 32, '--overwrite') == 0
    assert 'made in' in capsys.readouterr().out


def test_tool_makes_scenes_of_several_sizes(tool, tmp_path):
    args = ('--scene-size', 64, 80, '--scene-size', 96, 64)
    assert tool('--out-dir', tmp_path / 'a', *args) == 0
    images = (tmp_path / 'a/scenes/images/training').iterdir()
    assert {read(path).shape for path in images} == {
        (64, 80, 3),
        (96, 64, 3),
    }


@pytest.mark.parametrize(
    ('args', 'said'),
    (
        (('--crop-size', 8), 'crop_size must be a whole number from 16 up'),
        (('--scene-size', 20, 64), 'scene_size height must'),
        (('--val-crops', -4), 'from 0 up, got -4'),
        (('--workers', 0), 'workers must'),
    ),
)
def test_tool_bad_arguments(tool, tmp_path, capsys, args, said):
    assert tool('--out-dir', tmp_path / 'a', *args) == 2
    error = capsys.readouterr().err
    assert said in error and error.count('\n') == 1
    assert not list(tmp_path.iterdir())


def test_tool_foreign_folder(tool, tmp_path, capsys):
    (tmp_path / 'mine.txt').write_text('x')
    assert tool('--out-dir', tmp_path, '--overwrite') == 2
    assert 'left alone' in capsys.readouterr().err
