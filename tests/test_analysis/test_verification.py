# Copyright (c) mmfft authors. All rights reserved.
import re
import shutil
from types import SimpleNamespace

import pytest
import torch
from config_files import ROOT
from mmengine.dataset import Compose
from mmengine.registry import MODELS
from PIL import Image
from published_records import (
    SHAPES,
    classifier,
    is_gfnet,
    published_state_dict,
)
from torchvision import transforms

from mmfft.analysis import verification
from mmfft.analysis.verification import published_variants, verify
from mmfft.checkpoints import convert_published, published_names
from mmfft.checkpoints.zoo import file_of
from mmfft.engine import load_config
from mmfft.errors import ConfigError
from mmfft.openmmlab.scopes import enter_scope

TOOL = 'misc/verify_published.py'
TI, XS, DF = 'gfnet-ti_in1k', 'gfnet-xs_in1k', 'dfformer-s18_in1k'
ARCHS = {TI: 'gfnet-ti', DF: 'dfformer_s18'}


def published_view(name):
    """Transforms of the published evaluation, as their code has them."""
    edge = 256 if is_gfnet(name) else 224
    return transforms.Compose(
        [
            transforms.Resize(edge, transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """Made-up weights in the layout of the published files."""
    folder = tmp_path_factory.mktemp('published')
    torch.save(
        dict(model=published_state_dict('gfnet-ti')), folder / file_of(TI)
    )
    torch.save(published_state_dict('dfformer_s18'), folder / file_of(DF))
    return folder


@pytest.fixture(scope='module')
def pictures(digit_scenes):
    return sorted((digit_scenes / 'scenes/images/validation').glob('*.png'))


@pytest.fixture
def imagenet(tmp_path, pictures):
    """A function that lays the pictures out with these labels."""

    def lay_out(labels):
        folder = tmp_path / 'imagenet'
        (folder / 'meta').mkdir(parents=True)
        (folder / 'val').mkdir()
        lines = []
        for picture, label in zip(pictures, labels):
            shutil.copy(picture, folder / 'val')
            lines.append(f'{picture.name} {label}\n')
        (folder / 'meta' / 'val.txt').write_text(''.join(lines))
        return folder

    return lay_out


@pytest.fixture
def few(imagenet):
    return imagenet([0, 1, 2, 2])


@pytest.fixture
def quick_tests(monkeypatch):
    """Tests that take no time; the list of the configs that were tested."""
    tested = []

    def build_runner(cfg, dump_suffix):
        tested.append(cfg)
        metrics = {'accuracy/top1': 74.7, 'accuracy/top5': 92.0}
        return SimpleNamespace(test=lambda: metrics)

    monkeypatch.setattr(verification, 'build_runner', build_runner)
    return tested


def test_variants():
    variants = published_variants()
    assert list(variants) == published_names()
    assert variants[TI].top1 == 74.6
    # None of these could be verified.
    unknown = [name for name, v in variants.items() if v.top1 is None]
    assert unknown == [name for name in variants if 'dfformer' in name]


@pytest.mark.parametrize('name', published_names())
def test_configs_have_the_published_settings(name, pictures):
    cfg = load_config(published_variants()[name].config)
    enter_scope(cfg)
    pipeline = Compose(cfg.test_dataloader.dataset.pipeline)
    sample = pipeline(dict(img_path=str(pictures[0]), gt_label=0))
    preprocessor = MODELS.build(
        dict(cfg.data_preprocessor, type='ClsDataPreprocessor')
    )
    batch = dict(
        inputs=[sample['inputs']], data_samples=[sample['data_samples']]
    )
    ours = preprocessor(batch)['inputs'][0]
    theirs = published_view(name)(Image.open(pictures[0]).convert('RGB'))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    assert cfg.test_evaluator == dict(type='Accuracy', topk=(1, 5))


def test_rehearsal(imagenet, files, pictures, tmp_path, call_tool, capsys):
    ranked = {}
    for name, arch in ARCHS.items():
        model = classifier(arch)
        model.load_state_dict(
            convert_published(published_state_dict(arch)), strict=False
        )
        view = published_view(name)
        inputs = [view(Image.open(p).convert('RGB')) for p in pictures]
        with torch.no_grad():
            logits = model(torch.stack(inputs), mode='tensor')
        ranked[name] = logits.argsort(dim=1, descending=True)
    # GFNet is right on two images, and almost on the third.
    right = ranked[TI]
    labels = [right[0, 0], right[1, 0], right[2, 3], right[3, 9]]
    folder = imagenet([int(label) for label in labels])
    expected = {
        name: [
            100 * sum(y in r[:k] for y, r in zip(labels, ranked[name])) / 4
            for k in (1, 5)
        ]
        for name in ARCHS
    }
    assert expected[TI] == [50, 75]

    arguments = ['--imagenet', folder, '--files', files]
    small = ['--batch-size', 2, '--workers', 0]
    call_tool(TOOL, *arguments, *small, cwd=tmp_path)
    out = tmp_path / 'work_dirs' / 'verify_published'
    report = (out / 'report.md').read_text()
    assert report in capsys.readouterr().out
    rows = re.findall(
        r'^\| (\S+) \| (\S+) \| `(\w{64})` \| (.*) \|$', report, re.M
    )
    assert [row[:2] for row in rows] == [(n, file_of(n)) for n in (DF, TI)]
    for name, _, _, cells in rows:
        top1, top5, published, difference, images, _ = cells.split(' | ')
        assert [float(top1), float(top5)] == expected[name]
        assert published == ('74.6' if name == TI else 'not known to us')
        assert (difference, images) == ('not comparable', '4')
    assert 'Not comparable' in report
    missing = [name for name in published_names() if name not in ARCHS]
    assert f'files were not there: {", ".join(missing)}.' in report
    for word in ('torch', 'mmpretrain', 'mmcv', 'Pillow', 'OpenCV'):
        assert f'{word} ' in report
    assert str(ROOT) not in report

    # Results are kept: the same command tests nothing again.
    rows = (out / 'rows.csv').read_text()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verification, 'build_runner', None)
        call_tool(TOOL, *arguments, cwd=tmp_path)
    assert (out / 'report.md').read_text() == report
    assert (out / 'rows.csv').read_text() == rows


def test_full_set_is_compared(few, files, tmp_path, quick_tests, monkeypatch):
    monkeypatch.setattr(verification, 'CLASSES', 2)
    monkeypatch.setattr(verification, '_IMAGES_PER_CLASS', 2)
    (few / 'meta' / 'val.txt').write_text(
        ''.join(
            f'{path.name} {i % 2}\n'
            for i, path in enumerate((few / 'val').iterdir())
        )
    )
    result = verify(str(few), str(files), out=tmp_path / 'out')
    assert '| 74.70 | 92.00 | 74.6 | +0.10 | 4 |' in result.report()
    assert '| 74.70 | 92.00 | not known to us |  | 4 |' in result.report()
    assert 'omparable' not in result.report()
    (cfg, _) = quick_tests
    assert cfg.load_from == str(files / file_of(DF))
    assert cfg.test_dataloader.batch_size == 128

    # Other labels are other data.
    text = (few / 'meta' / 'val.txt').read_text()
    (few / 'meta' / 'val.txt').write_text(
        re.sub(
            r'^(.*) (\d)$',
            lambda m: f'{m[1]} {1 - int(m[2])}',
            text,
            flags=re.M,
        )
    )
    verify(str(few), str(files), names=[TI], out=tmp_path / 'out')
    assert len(quick_tests) == 3


def test_class_folders(files, pictures, tmp_path, quick_tests):
    for i in range(1000):
        (tmp_path / 'val' / f'n{i:08d}').mkdir(parents=True)
    shutil.copy(pictures[0], tmp_path / 'val' / 'n00000007' / 'a.JPEG')
    result = verify(str(tmp_path), str(files), [TI], out=tmp_path / 'out')
    assert result.images.number == 1
    # The digest does not depend on the layout.
    listed = tmp_path / 'listed'
    (listed / 'val').mkdir(parents=True)
    (listed / 'meta').mkdir()
    shutil.copy(pictures[0], listed / 'val' / 'a.JPEG')
    (listed / 'meta' / 'val.txt').write_text('a.JPEG 7\n')
    again = verify(str(listed), str(files), [TI], out=tmp_path / 'out')
    assert again.images == result.images

    (tmp_path / 'val' / 'n00000000').rename(tmp_path / 'val' / 'tench')
    with pytest.raises(ConfigError, match="folder 'tench': labels follow"):
        verify(str(tmp_path), str(files))
    (tmp_path / 'val' / 'tench').rename(tmp_path / 'val' / 'n00000000')
    (tmp_path / 'val' / 'n00000007' / 'a.JPEG').unlink()
    with pytest.raises(ConfigError, match='cannot be read: Found 0 files'):
        verify(str(tmp_path), str(files))
    shutil.rmtree(tmp_path / 'val' / 'n00000000')
    with pytest.raises(ConfigError, match='1,000 folders.*has 999 folders'):
        verify(str(tmp_path), str(files))


def test_failures_keep_the_other_rows(
    few, files, tmp_path, quick_tests, call_tool, capsys
):
    """Of a torn file, one of another model and one of another size."""
    folder = tmp_path / 'files'
    folder.mkdir()
    whole = (files / file_of(TI)).read_bytes()
    (folder / file_of(TI)).write_bytes(whole)
    (folder / file_of(XS)).write_bytes(whole)
    (folder / 'gfnet-s.pth').write_bytes(whole[: len(whole) // 2])
    (folder / 'gfnet-b.pth').write_text('<html>')
    torch.save(dict(model=dict(a=torch.ones(1))), folder / 'gfnet-h-ti.pth')
    headless = published_state_dict('gfnet-ti')
    del headless['head.weight']
    torch.save(headless, folder / 'gfnet-h-b.pth')
    larger = published_state_dict('gfnet-ti')
    larger['pos_embed'] = torch.zeros(1, 24 * 24, 256)
    torch.save(larger, folder / 'gfnet-h-s.pth')
    with pytest.raises(SystemExit) as error:
        call_tool(
            TOOL, '--imagenet', few, '--files', folder, '--out', 'out',
            cwd=tmp_path,
        )  # fmt: skip
    assert error.value.code == 1
    report = (tmp_path / 'out' / 'report.md').read_text()
    assert f'| {TI} |' in report and len(quick_tests) == 1
    said = ' '.join(capsys.readouterr().err.split())
    for name, why in [
        (XS, "gfnet-xs.pth' has the weights of GFNet ti for 224 pixels, not "
             'GFNet xs for 224 pixels'),
        ('gfnet-s_in1k', 'is torn'),
        ('gfnet-b_in1k', 'is an HTML or XML page'),
        ('gfnet-h-ti_in1k', 'is not one of the published files'),
        ('gfnet-h-s_in1k', 'has the weights of GFNet ti for 384 pixels'),
        ('gfnet-h-b_in1k', "lacks the tensor 'head.weight'"),
    ]:  # fmt: skip
        assert re.search(f'{name} failed: .*{why}', report), name
        assert re.search(f'{name}: error: .*{why}', said), name


def test_crash_of_a_test(
    few, files, tmp_path, quick_tests, monkeypatch, capsys
):
    build_runner = verification.build_runner

    def run_out_of_memory(cfg, dump_suffix):
        if cfg.load_from.endswith(file_of(DF)):
            raise RuntimeError('out of memory')
        return build_runner(cfg, dump_suffix)

    monkeypatch.setattr(verification, 'build_runner', run_out_of_memory)
    result = verify(str(few), str(files), out=tmp_path / 'out')
    assert result.failed == {DF: 'RuntimeError: out of memory'}
    assert [row['variant'] for row in result.rows] == [TI]
    assert 'Traceback' in capsys.readouterr().err


def test_interruption_loses_nothing(
    few, files, tmp_path, quick_tests, monkeypatch, call_tool, capsys
):
    arguments = ['--imagenet', few, '--files', files, '--out', 'out']
    build_runner = verification.build_runner

    def interrupt(cfg, dump_suffix):
        if quick_tests:
            raise KeyboardInterrupt
        return build_runner(cfg, dump_suffix)

    monkeypatch.setattr(verification, 'build_runner', interrupt)
    with pytest.raises(SystemExit) as error:
        call_tool(TOOL, *arguments, cwd=tmp_path)
    assert error.value.code == 130
    assert 'finished rows are in out/rows.csv' in capsys.readouterr().err
    assert len(quick_tests) == 1
    monkeypatch.setattr(verification, 'build_runner', build_runner)
    call_tool(TOOL, *arguments, cwd=tmp_path)
    tested = [cfg.load_from for cfg in quick_tests]
    assert tested == [str(files / file_of(name)) for name in (DF, TI)]


def test_cache_and_downloads(
    few, files, cache, tmp_path, quick_tests, monkeypatch
):
    with pytest.raises(ConfigError, match="'gfnet-ti.pth'.*--files"):
        verify(str(few), names=[TI])

    def no_network(url):
        raise OSError('no route')

    monkeypatch.setattr('mmfft.checkpoints.downloading.urlopen', no_network)
    shutil.copy(files / file_of(DF), cache)
    shutil.copy(files / file_of(TI), cache)
    result = verify(str(few), out=tmp_path / 'out')
    assert [row['variant'] for row in result.rows] == [DF, TI]
    assert len(result.failed) == 7
    assert 'no route' in result.failed['cdfformer-b36_in1k']
    assert len(result.missing) == 6 and XS in result.missing


@pytest.mark.parametrize(
    'break_it, message',
    [
        (lambda d: shutil.rmtree(d), 'must be a folder with val .*not exist'),
        (lambda d: shutil.rmtree(d / 'val'), "val in it: .*has 1 .*'meta'"),
        (lambda d: shutil.rmtree(d / 'meta'), '1,000 folders.*has 4 files'),
        (
            lambda d: (d / 'meta/val.txt').write_text('a.png\n'),
            "imagenet' cannot be read: not enough values",
        ),
        (
            lambda d: (d / 'meta/val.txt').write_text('a.png 1000\n'),
            'names 1 images that are not there',
        ),
        (
            lambda d: [
                (d / 'val' / 'a.png').touch(),
                (d / 'meta/val.txt').write_text('a.png 1000\n'),
            ],
            'has the label 1000: labels are 0 to 999',
        ),
    ],
)
def test_wrong_images(
    break_it, message, few, files, tmp_path, call_tool, capsys
):
    break_it(few)
    with pytest.raises(SystemExit) as error:
        call_tool(
            TOOL, '--imagenet', few, '--files', files, cwd=tmp_path
        )  # fmt: skip
    assert error.value.code == 2
    said = capsys.readouterr().err
    assert re.search(f'verify_published.py: error: .*{message}', said)


@pytest.mark.parametrize(
    'arguments, message',
    [
        (dict(files='nowhere'), "--files: there is no folder 'nowhere'"),
        (dict(files='.'), "--files has none of .*'dfformer_s18.pth'"),
        (dict(names=[XS]), r"--files has none of \['gfnet-xs.pth'\]: .*has 2"),
        (dict(out=ROOT / 'setup.py'), "--out must be a folder, .*setup.py'"),
        (dict(names=['gfnet']), '--variants must be one of'),
        (dict(batch_size=0), '--batch-size must be a whole number from 1'),
        (dict(workers=-1), '--workers must be a whole number from 0'),
    ],
)
def test_wrong_arguments(
    arguments, message, few, files, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=message):
        verify(str(few), **dict(dict(files=str(files)), **arguments))


def test_page():
    text = (ROOT / 'docs/results/published.md').read_text()
    rows = re.findall(
        r'^\| `(\S+)` \| `(\S+)` \| ([^|]+) \| [^|]*\| [^|\s][^|]* \|$',
        text,
        re.M,
    )
    assert rows == [
        (name, file_of(name), str(v.top1 or 'not known to us'))
        for name, v in published_variants().items()
    ]
    # What has no weights is named too.
    names = {name.removesuffix('_in1k') for name in published_names()}
    others = {arch.replace('_', '-') for arch in SHAPES} - names
    assert len(others) == 6
    assert all(f'`{name}`' in text for name in others)
