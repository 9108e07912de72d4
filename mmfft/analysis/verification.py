# Copyright (c) mmfft authors. All rights reserved.
"""Accuracy of the published weights on ImageNet, beside the published one.

The published files are tested by the configs of their models, on the path of
``tools/test.py``, so that what is verified is what users get.
"""

import contextlib
import functools
import hashlib
import re
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from platform import python_version

import cv2
import PIL
from mmengine.config import Config
from mmengine.fileio import load
from mmengine.registry import DATASETS

from ..checkpoints import (
    is_published,
    published_file,
    published_names,
    read_file,
    unwrap,
)
from ..checkpoints.downloading import in_cache
from ..checkpoints.zoo import file_of, url_of
from ..collect_env import mmfft_env
from ..datasets.check.folders import describe as describe_folder
from ..datasets.check.folders import not_there
from ..engine import (
    apply_test_options,
    build_model,
    build_runner,
    load_config,
)
from ..engine.console import device_name, interrupt_behind
from ..errors import ConfigError, require_one_of, require_whole_number
from ..openmmlab.config_names import PREFIX, config_file
from ..openmmlab.convert import describe
from ..openmmlab.scopes import enter_scope
from .records import Records, markdown_table

CLASSES = 1000
# Of the validation set of ILSVRC 2012.
_IMAGES_PER_CLASS = 50
# Class folders whose alphabetical order is that of the labels.
_WORDNET_ID = re.compile(r'n\d{8}')
_KEYS = (
    *('variant', 'file', 'sha256', 'images', 'comparable', 'data'),
    'environment',
)
_VALUES = ('top1', 'top5', 'seconds')
_TITLES = (
    *('variant', 'file', 'SHA-256', 'top-1', 'top-5', 'published top-1'),
    *('difference', 'images', 'seconds'),
)


@dataclass(frozen=True)
class Variant:
    """A model with published weights.

    Args:
        name (str): One of :func:`published_names`.
        config (str): Its config, for :func:`load_config`.
        top1 (float, optional): Published top-1 in percent, None if we know of
            no source for it.
    """

    name: str
    config: str
    top1: float | None


@functools.cache
def published_variants() -> dict[str, Variant]:
    """All models with published weights, by name, from our metafiles."""
    found = {}
    families = {name.partition('-')[0] for name in published_names()}
    for family in families:
        index = load(str(config_file(f'{PREFIX}{family}/metafile.yml')))
        for model in index['Models']:
            if 'Weights' in model:
                name = model['Weights'].removeprefix('mmfft://')
                found[name] = Variant(
                    name,
                    PREFIX + model['Config'].removeprefix('configs/'),
                    model['Results'][0]['Metrics'].get('Top 1 Accuracy'),
                )
    return {name: found[name] for name in published_names()}


@dataclass(frozen=True)
class Images:
    """The images on which is tested.

    Args:
        number (int): How many there are.
        comparable (bool): Whether there are 50 of each of the 1,000 classes,
            as in the validation set.
        digest (str): First digits of a hash of their names and labels, which
            does not depend on the layout of the folders.
    """

    number: int
    comparable: bool
    digest: str


@dataclass
class Verification:
    """What has come of the variants.

    Args:
        images (Images): The images.
        environment (str): Versions and device.
        rows (list[dict]): Results of the variants that were tested here.
        missing (list[str]): Variants of which there is no file.
        failed (dict[str, str]): What went wrong, by variant.
    """

    images: Images
    environment: str
    rows: list[dict]
    missing: list[str]
    failed: dict[str, str]

    def report(self) -> str:
        """Format the results in Markdown, to send them to others."""
        table = markdown_table(
            _TITLES, [_cells(row) for row in self.rows], left=3
        )
        lines = [
            f'Images: {self.images.number:,} of the validation set of '
            f'ImageNet-1K; names and labels: {self.images.digest}.',
            f'Environment: {self.environment}.',
        ]
        if not self.images.comparable:
            lines.append(
                f'Not comparable with published figures: {CLASSES:,} classes '
                f'of {_IMAGES_PER_CLASS} images would be.'
            )
        lines += [f'{name} failed: {why}' for name, why in self.failed.items()]
        if self.missing:
            lines.append(
                'Not tested, since their files were not there: '
                f'{", ".join(self.missing)}.'
            )
        return '\n\n'.join([table.rstrip('\n'), *lines]) + '\n'


def _cells(row: dict) -> list[str]:
    published = published_variants()[row['variant']].top1
    if published is None:
        shown, difference = 'not known to us', ''
    else:
        shown, difference = f'{published}', f'{row["top1"] - published:+.2f}'
    if row['comparable'] != 'yes':
        difference = 'not comparable'
    return [
        row['variant'],
        row['file'],
        f'`{row["sha256"]}`',
        f'{row["top1"]:.2f}',
        f'{row["top5"]:.2f}',
        shown,
        difference,
        f'{int(row["images"]):,}',
        f'{row["seconds"]:.0f}',
    ]


def verify(
    imagenet: str,
    files: str | None = None,
    names: Sequence[str] = (),
    batch_size: int | None = None,
    workers: int | None = None,
    out: str | Path = 'work_dirs/verify_published',
) -> Verification:
    """Test published weights on the validation set of ImageNet-1K.

    All files are read before the first test begins. A variant that fails does
    not keep the others from being tested. A result that is in ``out``
    already, of the same file, images and environment, is taken from there.

    Args:
        imagenet (str): Folder of ImageNet, with ``val`` in it, in one of the
            layouts that mmpretrain's ``ImageNet`` reads.
        files (str, optional): Folder of the published files. By default they
            are taken from PyTorch's cache, into which those are downloaded
            that can be.
        names (Sequence[str]): Variants, of :func:`published_names`. Defaults
            to all whose files are there.
        batch_size (int, optional): Images of a batch. Defaults to that of the
            configs.
        workers (int, optional): Processes that read images. Defaults to that
            of the configs.
        out (str | Path): Folder of ``rows.csv``, to which each result is
            added at once, of ``report.md`` and of the logs. Defaults to
            ``'work_dirs/verify_published'``.

    Returns:
        Verification: Results of all variants.

    Raises:
        ConfigError: If the images or a file that was asked for are not
            there, the labels cannot be those of ImageNet, there is nothing
            to test, or an argument is wrong.
    """
    if batch_size is not None:
        require_whole_number('--batch-size', batch_size, 1)
    if workers is not None:
        require_whole_number('--workers', workers, 0)
    for name in names:
        require_one_of('--variants', name, published_names())
    if Path(out).is_file():
        raise ConfigError(f'--out must be a folder, {str(out)!r} is a file')
    found, missing = _find_files(files, names)
    images = _look_at_images(imagenet)
    records = Records(Path(out) / 'rows.csv', _KEYS, _VALUES)
    result = Verification(images, _environment(), [], missing, {})
    try:
        ready = {}
        for name, file in found.items():
            with _noting(result.failed, name):
                cfg = _test_config(name, imagenet, batch_size, workers, out)
                ready[name] = cfg, _check_file(cfg, name, file)
        for name, (cfg, file) in ready.items():
            with _noting(result.failed, name):
                result.rows.append(_row(records, result, name, cfg, file))
            _write_report(result, out)
    except BaseException as error:
        if stop := interrupt_behind(error):
            stop.args = (
                f'while testing: finished rows are in {records.path}, and the '
                'same command continues after them',
            )
        raise
    _write_report(result, out)
    return result


@contextlib.contextmanager
def _noting(failed: dict[str, str], name: str) -> Iterator[None]:
    """Context that notes an error of a variant and goes on."""
    try:
        yield
    # A test may end with any, such as that of a full GPU.
    except Exception as error:
        if interrupt_behind(error):
            raise
        text = str(error)
        if not isinstance(error, ConfigError):
            traceback.print_exception(error)
            text = f'{type(error).__name__}: {error}'
        failed[name] = ' '.join(text.split())
        print(f'{name}: error: {text}', file=sys.stderr, flush=True)


def _write_report(result: Verification, out: str | Path) -> None:
    Path(out, 'report.md').write_text(result.report(), encoding='utf-8')


def _find_files(
    folder: str | None, names: Sequence[str]
) -> tuple[dict[str, str | None], list[str]]:
    """Find the files, None for one that comes from the cache or the web."""
    if folder is not None and not Path(folder).is_dir():
        raise ConfigError(f'--files: there is no folder {folder!r}')
    found: dict[str, str | None] = {}
    missing = []
    for name in dict.fromkeys(names or published_names()):
        file = file_of(name)
        if folder is not None and Path(folder, file).is_file():
            found[name] = str(Path(folder, file))
        elif folder is None and (url_of(name) or in_cache(file)):
            found[name] = None
        else:
            missing.append(name)
    if missing and (names or not found):
        files = [file_of(name) for name in missing]
        raise ConfigError(
            f'{files} cannot be downloaded by their names: get them by the '
            'links on https://github.com/raoyongming/GFNet and give their '
            'folder as --files'
            if folder is None
            else f'--files has none of {files}: {describe_folder(folder)}'
        )
    return found, missing


def _test_config(
    name: str,
    imagenet: str,
    batch_size: int | None,
    workers: int | None,
    out: str | Path,
) -> Config:
    """Make the config of a test, without the checkpoint."""
    cfg = load_config(
        published_variants()[name].config, str(Path(out, 'logs', name))
    )
    loader = cfg.test_dataloader
    loader.dataset.data_root = imagenet
    if batch_size is not None:
        loader.batch_size = batch_size
    if workers is not None:
        loader.num_workers = workers
    # They would wait beside those of the next variant.
    loader.persistent_workers = False
    # mmengine keeps a logger for each name.
    cfg.experiment_name = f'{name}_{time.time_ns()}'
    return cfg


def _look_at_images(imagenet: str) -> Images:
    """List the images, and see that their labels can be ImageNet's."""
    val = Path(imagenet, 'val')
    if not val.is_dir():
        raise ConfigError(
            f'--imagenet {imagenet!r} must be a folder with val in it: '
            f'{describe_folder(imagenet)}'
        )
    listed = Path(imagenet, 'meta', 'val.txt')
    if not listed.is_file():
        _check_class_folders(val)
    variant = next(iter(published_variants().values()))
    cfg = load_config(variant.config)
    enter_scope(cfg)
    try:
        dataset = DATASETS.build(
            dict(cfg.test_dataloader.dataset, data_root=imagenet)
        )
    # There are no images, or lines are of another form.
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f'--imagenet {imagenet!r} cannot be read: {error}'
        ) from error
    items = [dataset.get_data_info(i) for i in range(len(dataset))]
    if lost := not_there(item['img_path'] for item in items):
        raise ConfigError(
            f'{str(listed)!r} names {len(lost):,} images that are not there, '
            f'such as {lost[0]!r}'
        )
    counts = Counter(item['gt_label'] for item in items)
    wrong = [label for label in counts if not 0 <= label < CLASSES]
    if wrong:
        raise ConfigError(
            f'{str(listed)!r} has the label {wrong[0]}: labels are 0 to '
            f'{CLASSES - 1}, in the alphabetical order of n01440764 and so on'
        )
    digest = hashlib.sha256()
    for line in sorted(
        f'{Path(item["img_path"]).name} {item["gt_label"]}\n' for item in items
    ):
        digest.update(line.encode())
    complete = dict.fromkeys(range(CLASSES), _IMAGES_PER_CLASS)
    return Images(len(items), counts == complete, digest.hexdigest()[:12])


def _check_class_folders(val: Path) -> None:
    folders = sorted(path.name for path in val.iterdir() if path.is_dir())
    if len(folders) != CLASSES:
        raise ConfigError(
            f'{str(val)!r} must have {CLASSES:,} folders, one for each class, '
            f'or {str(val.parent / "meta" / "val.txt")!r} must give the '
            f'labels: {describe_folder(str(val))}'
        )
    odd = [name for name in folders if not _WORDNET_ID.fullmatch(name)]
    if odd:
        raise ConfigError(
            f'{str(val)!r} has a folder {odd[0]!r}: labels follow the '
            'alphabetical order of the folders, which is right only for '
            'names such as n01440764'
        )


def _check_file(cfg: Config, name: str, file: str | None) -> str:
    """See that a file is that of a variant; return its path.

    Filters of another size would be resized in the test.
    """
    if file is None:
        file = published_file(name)
    weights = unwrap(read_file(file, 'cpu'))
    if not is_published(weights):
        raise ConfigError(
            f'{file!r} is not one of the published files: it has the tensors '
            f'{list(weights)[:3]}'
        )
    try:
        is_of = _name_model(describe(weights)['backbone'])
    except KeyError as error:
        raise ConfigError(f'{file!r} lacks the tensor {error}') from error
    wanted = _name_model(cfg.model.backbone)
    if is_of != wanted:
        raise ConfigError(f'{file!r} has the weights of {is_of}, not {wanted}')
    build_model(cfg, file)
    return file


def _name_model(backbone: dict) -> str:
    size = backbone.get('img_size', 224)
    cls = backbone['type'].removeprefix('mmfft.')
    return f'{cls} {backbone["arch"]} for {size} pixels'


def _row(
    records: Records, result: Verification, name: str, cfg: Config, file: str
) -> dict:
    """Test a variant, unless it was tested, and record the result."""
    case = dict(
        variant=name,
        file=Path(file).name,
        sha256=_sha256(file),
        images=result.images.number,
        comparable='yes' if result.images.comparable else 'no',
        data=result.images.digest,
        environment=result.environment,
    )
    if case in records:
        print(f'{name}: tested before, see {records.path}', flush=True)
        return records[case]
    apply_test_options(cfg, file)
    runner = build_runner(cfg, dump_suffix='_test')
    start = time.perf_counter()
    metrics = runner.test()
    records.add(
        dict(
            case,
            top1=metrics['accuracy/top1'],
            top5=metrics['accuracy/top5'],
            seconds=time.perf_counter() - start,
        )
    )
    row = records[case]
    shown = zip(_TITLES[3:], _cells(row)[3:])
    print(f'{name}:', ', '.join(map(' '.join, shown)), flush=True)
    return row


def _sha256(file: str) -> str:
    digest = hashlib.sha256()
    with open(file, 'rb') as stream:
        while chunk := stream.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def _environment() -> str:
    """Device, and versions of what decodes, resizes and computes."""
    env = mmfft_env()
    # Without the folder, which is nobody's business.
    env['mmfft'] = env['mmfft'].partition(' (')[0]
    names = ('mmfft', 'torch', 'numpy')
    toolboxes = ('mmpretrain', 'mmengine', 'mmcv')
    return ', '.join(
        [
            device_name(),
            f'Python {python_version()}',
            *(f'{name} {env[name]}' for name in names),
            *(env[module] for module in toolboxes),
            f'Pillow {PIL.__version__}',
            f'OpenCV {cv2.__version__}',
        ]
    )
